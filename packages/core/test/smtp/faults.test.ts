import { expect, test } from 'vitest'
import { Rig, type Script } from './rig.ts'

const dialogue = `
  C: EHLO client.example.test
  C: MAIL FROM:<a@example.test>
  C: RCPT TO:<b@example.test>
  C: DATA
  C: Subject: x
  C:
  C: .
`
const steps: (keyof Script)[] = ['connect', 'helo', 'mail', 'rcpt', 'data', 'write', 'end']
const faults: [string, () => never | Promise<never>][] = [
  [
    'throws',
    () => {
      throw new Error('secret detail')
    },
  ],
  ['rejects', () => Promise.reject(new Error('secret detail'))],
]

test.each(steps.flatMap(step => faults.map(([how, fault]) => [step, how, fault] as const)))(
  'a pipeline whose %s %s: 421 4.3.0, a line in the log, and life goes on',
  async (step, _, fault) => {
    await using rig = await Rig.start({}, { script: { [step]: fault } })
    await using client = await rig.connect()
    await client.speak(dialogue)
    await rig.closed()
    while (!client.closed) await rig.clock.settle()
    let last = ''
    for (let line = ''; !line.startsWith('421'); last = line) [line = ''] = await client.reply()
    expect(last).toBe('421 4.3.0 Internal error, closing')
    await client.expect('(closed)')
    expect(rig.logged.filter(({ level }) => level === 'error')).toHaveLength(1)
    expect(rig.pipeline.kept.length).toBe(step === 'end' ? 1 : 0)
    expect(rig.set.inflight).toBe(0)
    rig.pipeline.script = {}
    await using other = await rig.connect()
    await other.speak(`S: 220 *\n${dialogue}S: 250 ...\nS: 250 *\nS: 250 *\nS: 354 *\nS: 250 *`)
  },
)

test('a pipeline that cannot even open, or close', async () => {
  await using rig = await Rig.start()
  const { pipeline } = rig
  const open = pipeline.open.bind(pipeline)
  pipeline.open = () => {
    throw new Error('no generation')
  }
  await using client = await rig.connect()
  await client.speak('S: 421 4.3.0 Internal error, closing\nS: (closed)')
  pipeline.open = arrival => ({
    ...open(arrival),
    close: () => {
      throw new Error('close')
    },
  })
  await using second = await rig.connect()
  await second.speak('S: 220 *\nC: QUIT\nS: 221 *\nS: (closed)')
  await using third = await rig.connect()
  await third.speak('S: 220 *')
  third.close()
  pipeline.open = open
  await using fourth = await rig.connect()
  await fourth.speak('S: 220 *')
})

test('a pipeline that is retired in the middle of a fault of the ticker', async () => {
  await using rig = await Rig.start()
  await using client = await rig.connect()
  await client.speak('S: 220 *')
  Object.defineProperty(rig.pipeline.script, 'retired', {
    get: () => {
      throw new Error('ours')
    },
    configurable: true,
  })
  await rig.clock.advance(2000)
  await client.speak('S: 421 4.3.0 *\nS: (closed)')
})

test('clients that vanish at each step leave nothing behind', async () => {
  await using rig = await Rig.start()
  const words = dialogue
    .split('\n')
    .filter(line => line.includes('C:'))
    .map(line => `${line.trim().slice(3)}\r\n`)
    .join('')
  for (let length = 0; length < words.length; length += 3) {
    const client = await rig.connect()
    await client.sent(Buffer.from(words.slice(0, length)))
    if (length % 2 === 0) client.socket.resetAndDestroy()
    else client.close()
  }
  while (rig.set.connections > 0 || rig.pipeline.open_ > 0) await rig.clock.settle()
  expect(rig.set.inflight).toBe(0)
  expect(rig.logged.filter(({ level }) => level === 'error')).toEqual([])
})
