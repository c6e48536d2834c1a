// What an operator sees and does through the control socket of a running server.
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { QueueListing, QueueMessage, Trace, TraceLine } from '@posthorn/core/runtime'
import { SmtpPeer } from '@posthorn/testing'
import { expect, test } from 'vitest'
import { example, greeted, queueId, Rig, send } from './rig.ts'

const home = ['storage-level', { domains: { domains: ['example.test'] } }, 'maildir']
const fingerprint = { [example('custom-plugin/fingerprint.ts')]: { refuse: ['spammer@client.test'] } }

test('the socket, the data folder and the store are nobody else’s', async () => {
  await using rig = await Rig.start({ plugins: home })
  const mode = async (name: string) => ((await stat(join(rig.data, name))).mode & 0o777).toString(8)
  expect(await mode('control.sock')).toBe('600')
  expect(await mode('.')).toBe('700')
  expect(await mode('store')).toBe('700')
})

test('status: who runs, where it listens, what it did', async () => {
  await using rig = await Rig.start({ plugins: [...home, fingerprint] })
  await using client = await greeted(rig)
  await send(client, 'bob@client.test', 'anna@example.test')
  await client.speak(`
    C: MAIL FROM:<spammer@client.test>
    S: 550 5.7.1 *
  `)
  await rig.delivered('anna@example.test', 1)
  await rig.empty()
  expect(await rig.status()).toMatchObject({
    pid: process.pid,
    hostname: 'mx.example.test',
    data: rig.data,
    generation: 1,
    listeners: [{ name: 'mx', role: 'mx', tls: 'none', addresses: [`127.0.0.1:${rig.port()}`], connections: 1 }],
    plugins: [{ name: 'storage-level' }, { name: 'domains' }, { name: 'maildir' }, { name: 'fingerprint' }],
    counts: { accepted: 1, refused: 1, delivered: 1, bounced: 0 },
    alarms: [],
  })
})

test('explain: each hook with its verdict, reason, duration and header changes, to the delivery', async () => {
  await using rig = await Rig.start({ plugins: [...home, fingerprint] })
  const control = await rig.control()
  await using client = await greeted(rig)
  const id = queueId(await send(client, 'bob@client.test', ['anna@example.test', 'bert@example.test']))
  const told: TraceLine[] = []
  expect(await control.call('follow', { id }, line => told.push(line as TraceLine))).toEqual({ id, state: 'gone' })
  const { entries } = await control.call<Trace>('explain', { id })
  expect(entries).toEqual(told)
  const ms = expect.any(Number)
  expect(entries).toEqual(
    expect.arrayContaining([
      expect.objectContaining({
        stage: 'rcpt',
        plugin: 'domains',
        verdict: 'accept',
        recipient: 'anna@example.test',
        ms,
      }),
      expect.objectContaining({
        stage: 'rcpt',
        plugin: 'domains',
        verdict: 'accept',
        recipient: 'bert@example.test',
        ms,
      }),
      expect.objectContaining({ stage: 'mail', plugin: 'fingerprint', verdict: '-', ms }),
      expect.objectContaining({
        stage: 'data',
        plugin: 'fingerprint',
        edits: ['prepend X-Fingerprint'],
        ms,
      }),
      expect.objectContaining({ stage: 'answered', verdict: expect.stringMatching(/^250 /) }),
      expect.objectContaining({ stage: 'deliver', verdict: expect.stringMatching(/^delivered/) }),
    ]),
  )
  expect(entries.map(({ at }) => at)).toEqual([...entries.map(({ at }) => at)].sort((a, b) => a - b))
})

test('explain: a refusal too, by the id in the log', async () => {
  await using rig = await Rig.start({ plugins: [...home, fingerprint] })
  await using client = await greeted(rig)
  await client.speak(`
    C: MAIL FROM:<spammer@client.test>
    S: 550 5.7.1 *
  `)
  const id = rig.log.find(({ message }) => message === 'refused')?.id
  const { entries } = await (await rig.control()).call<Trace>('explain', { id })
  expect(entries).toEqual([
    expect.objectContaining({
      stage: 'mail',
      plugin: 'fingerprint',
      verdict: 'reject 550 5.7.1 We take no mail from you',
      reason: 'spammer@client.test is on the list',
      ms: expect.any(Number),
    }),
    expect.objectContaining({ stage: 'answered', verdict: expect.stringMatching(/^550 /) }),
  ])
})

test('queue: list, show, and each thing that can be done to a message', async () => {
  await using hop = await SmtpPeer.start({ on: { mail: '451 4.3.0 later' } })
  await using rig = await Rig.start({ plugins: [...home, { relay: { to: hop.address, domains: ['next.test'] } }] })
  const control = await rig.control()
  const list = async () => (await control.call<QueueListing>('queue.list')).messages
  const apply = (kind: string, id: string) => control.call('queue.apply', { id, action: { kind } })
  await using client = await greeted(rig)
  const ids: string[] = []
  for (const subject of ['retried', 'held', 'bounced', 'deleted']) {
    const id = queueId(await send(client, 'bob@example.test', 'to@next.test', `Subject: ${subject}\r\n\r\nx\r\n`))
    expect(await rig.end(id)).toEqual({ id, state: 'deferred' })
    ids.push(id)
  }
  const [retried = '', held = '', bounced = '', deleted = ''] = ids
  expect((await list()).map(({ id }) => id)).toEqual(ids)
  expect((await list())[0]).toMatchObject({
    from: 'bob@example.test',
    recipients: 1,
    lane: `relay/${hop.address}`,
    state: 'deferred',
    reason: expect.stringContaining('451 4.3.0 later'),
  })
  expect(await control.call<QueueMessage>('queue.show', { id: held })).toMatchObject({
    id: held,
    from: 'bob@example.test',
    client: expect.stringContaining('127.0.0.1'),
    header: expect.stringMatching(/^Received: .*Subject: held\r\n/s),
    recipients: [
      {
        address: 'to@next.test',
        state: 'deferred',
        attempts: [{ result: expect.stringContaining('451 4.3.0 later') }],
      },
    ],
  })

  await apply('hold', held)
  hop.on = {}
  await apply('retry', retried)
  await hop.received(1)
  await apply('bounce', bounced)
  const [report] = await rig.delivered('bob@example.test', 1)
  expect(String(report)).toMatch(/Final-Recipient: rfc822; to@next\.test\r\n/)
  expect(String(report)).toMatch(/Subject: bounced\r\n/)
  await apply('delete', deleted)
  expect(await rig.end(deleted)).toMatchObject({ state: 'gone' })
  await rig.end(retried)
  expect((await list()).map(({ id, state }) => [id, state])).toEqual([[held, 'held']])
  expect((await rig.status()).alarms.join()).toContain('1 recipients are held')

  await apply('release', held)
  await hop.received(2)
  await rig.empty()
  expect(hop.messages.map(({ bytes }) => /Subject: (.*)\r/.exec(String(bytes))?.[1])).toEqual(['retried', 'held'])
  // What was deleted was told to nobody, and is in the log.
  expect(await rig.inbox('bob@example.test')).toHaveLength(1)
  expect(rig.log.some(line => line.id === deleted && /delet|remov/i.test(JSON.stringify(line)))).toBe(true)
})

test('reload by the socket, its refusal with what to do, and calls that make no sense', async () => {
  await using rig = await Rig.start({ plugins: home })
  const control = await rig.control()
  expect(await control.call('reload')).toEqual({ generation: 2, warnings: [] })
  rig.config = { plugins: [...home, { relay: { too: 'x:25' } }] }
  await expect(control.call('reload')).rejects.toMatchObject({
    code: 'POSTHORN_CONFIG_INVALID',
    errors: [expect.objectContaining({ at: expect.stringContaining('plugins[3]') }), expect.anything()],
  })
  await expect(control.call('no.such')).rejects.toThrow()
  await expect(control.call('queue.show', { id: '' })).rejects.toMatchObject({ code: 'POSTHORN_CONTROL_PARAMS' })
  await expect(control.call('explain', { id: 'nosuch' })).rejects.toMatchObject({ code: 'POSTHORN_TRACE_UNKNOWN' })
  await expect(control.call('queue.apply', { id: 'nosuch', action: { kind: 'retry' } })).rejects.toMatchObject({
    code: 'POSTHORN_QUEUE_UNKNOWN',
  })
  expect((await rig.status()).generation).toBe(2)
})
