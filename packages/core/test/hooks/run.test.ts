import { expect, test } from 'vitest'
import type { GateResult } from '../../src/hooks/contract.ts'
import { runFirst, runGate, runObservers, runSequence } from '../../src/hooks/run.ts'
import { defer, reject } from '../../src/verdict.ts'
import { hook, pending, stage, waves } from './stage.ts'

const no = reject(550, '5.7.1', 'No')
const later = defer(451, '4.7.1', 'Later')

test('synchronous hooks make no promise', () => {
  const { scene, options } = stage()
  const result = runGate(waves([hook('a', () => undefined)], [hook('b', () => no)]), scene, options())
  expect(result).not.toBeInstanceOf(Promise)
  expect(result).toMatchObject({ verdict: no, by: 'b' })
})

test('a stage without hooks goes on at once', () => {
  const { scene, options } = stage()
  expect(runGate(waves(), scene, options())).toEqual({ settled: [] })
})

test('all hooks of a wave are called before any answer is waited for', async () => {
  const { scene, options } = stage()
  const called: string[] = []
  const slow = pending<undefined>()
  const a = hook('a', () => {
    called.push('a')
    return slow.promise
  })
  const b = hook('b', () => void called.push('b'))
  const c = hook('c', () => void called.push('c'))
  const result = runGate(waves([a, b], [c]), scene, options())
  expect(called).toEqual(['a', 'b'])
  slow.resolve(undefined)
  await result
  expect(called).toEqual(['a', 'b', 'c'])
})

test('an objection ends the stage after its wave', () => {
  const { scene, options, told } = stage()
  const result = runGate(
    waves([hook('a', () => no), hook('b', () => undefined)], [hook('c', () => undefined)]),
    scene,
    options(),
  )
  expect(told).toEqual(['a reject', 'b -'])
  expect(result).toMatchObject({ by: 'a' })
})

test('effects run last, and only if nobody objected', () => {
  const counted: string[] = []
  const count = () =>
    hook(
      'greylist',
      () => {
        counted.push('seen')
        return later
      },
      { effect: true },
    )
  const quiet = stage()
  expect(
    runGate({ waves: [[hook('a', () => undefined)]], effects: [[count()]] }, quiet.scene, quiet.options()),
  ).toMatchObject({ verdict: later, by: 'greylist' })
  const refused = stage()
  expect(
    runGate({ waves: [[hook('a', () => no)]], effects: [[count()]] }, refused.scene, refused.options()),
  ).toMatchObject({ verdict: no })
  expect(counted).toEqual(['seen'])
})

test('a scene that fails rejects the run instead of hanging it', async () => {
  const { scene, options } = stage({
    settled() {
      throw new Error('trace is broken')
    },
  })
  expect(() => runGate(waves([hook('a', () => undefined)]), scene, options())).toThrow('trace is broken')
  await expect(runGate(waves([hook('a', async () => undefined)]), scene, options())).rejects.toThrow('trace is broken')
})

test('rcpt: an objection wins over acceptance, a back end speaks for itself', () => {
  const rcpt = (...answers: unknown[]) => {
    const { scene, options } = stage()
    const hooks = answers.map((answer, i) => hook(`p${i}`, () => answer, { stage: 'rcpt' }))
    return runGate(waves(hooks), scene, options('rcpt')) as GateResult
  }
  const said = (code: number, line: string) => ({
    kind: 'passed-on',
    reply: { host: 'backend', phase: 'rcpt', code, lines: [line] },
  })
  expect(rcpt(undefined)).not.toHaveProperty('accepted')
  expect(rcpt(undefined, 'accept')).toMatchObject({ accepted: true, by: 'p1' })
  expect(rcpt('accept', later)).toMatchObject({ verdict: later, by: 'p1' })
  expect(rcpt('accept', later)).not.toHaveProperty('accepted')
  expect(rcpt('accept', said(250, 'Ok from within'))).toMatchObject({
    accepted: true,
    by: 'p1',
    passedOn: { kind: 'passed-on' },
  })
  expect(rcpt('accept', said(550, 'No\r\nsuch user'))).toMatchObject({
    verdict: { kind: 'reject', code: 550, enhanced: '5.0.0', text: 'No such user' },
    passedOn: { reply: { code: 550 } },
  })
  expect(rcpt(said(471, 'Odd')).verdict).toMatchObject({ kind: 'defer', code: 451 })
  expect(rcpt(said(354, 'Go on')).verdict).toMatchObject({ code: 451, enhanced: '4.3.0' })
})

test('taps: the stage goes on until every target is refused', () => {
  const each = (...ids: string[]) => new Map(ids.map(id => [id, no]))
  const end = (first: Map<string, unknown>) => {
    const { scene, options, told } = stage()
    const plan = waves(
      [hook('sieve', () => first, { stage: 'data' })],
      [hook('late', () => undefined, { stage: 'data' })],
    )
    void runGate(plan, scene, options('end', { targets: ['anna', 'bob'] }))
    return told.map(line => line.split(' ')[0])
  }
  expect(end(each('anna'))).toEqual(['sieve', 'late'])
  expect(end(each('anna', 'bob'))).toEqual(['sieve'])
})

test('first answer: asked one by one, until one answers', async () => {
  const { scene, options, told } = stage()
  const plan = waves([
    hook('ldap', async () => undefined, { stage: 'auth' }),
    hook('users', () => ({ user: 'anna' }), { stage: 'auth' }),
    hook('never', () => ({ user: 'eve' }), { stage: 'auth' }),
  ])
  expect(await runFirst(plan, scene, options('auth'))).toMatchObject({ value: { user: 'anna' }, by: 'users' })
  expect(told).toEqual(['ldap -', 'users {"user":"anna"}'])
})

test('first answer: a fault is not passed over, unless the operator says so', async () => {
  const ask = (onError: 'fail' | 'ignore') => {
    const { scene, options } = stage()
    const broken = async () => {
      throw new Error('directory is down')
    }
    const plan = waves([
      hook('ldap', broken, { stage: 'auth', onError }),
      hook('users', () => ({ user: 'anna' }), { stage: 'auth' }),
    ])
    return runFirst(plan, scene, options('auth'))
  }
  expect((await ask('fail')).verdict).toMatchObject({ code: 454 })
  expect((await ask('ignore')).value).toEqual({ user: 'anna' })
})

test('queue: an overridden refusal of some does not forget the custody of others', async () => {
  const { scene, options } = stage()
  const taken = { kind: 'passed-on', reply: { host: 'b', phase: 'dot', code: 250, lines: ['queued'] } }
  const split = new Map<string, unknown>([
    ['anna', taken],
    ['bob', no],
  ])
  const plan = waves([hook('pass', () => split, { stage: 'queue', objection: 'ignore' })])
  const { value } = await runFirst(plan, scene, options('queue'))
  expect(value).toEqual(new Map([['anna', taken]]))
})

test('sequence: one after another, each told before the next begins; a fault ends it', async () => {
  const events: string[] = []
  const { scene, options } = stage({ settled: ({ entry }) => void events.push(`told ${entry.plugin}`) })
  const seal = (name: string, answer: () => unknown) =>
    hook(
      name,
      () => {
        events.push(`call ${name}`)
        return answer()
      },
      { stage: 'seal' },
    )
  const plan = waves([
    seal('auth-results', async () => [['Authentication-Results', 'mx; none']]),
    seal('broken', () => ['no pair']),
    seal('dkim', () => []),
  ])
  const result = await runSequence(plan, scene, options('seal'))
  expect(events).toEqual(['call auth-results', 'told auth-results', 'call broken', 'told broken'])
  expect(result).toMatchObject({ verdict: { code: 451 }, by: 'broken' })
})

test('observers cannot object, and a fault of one does not reach the others', async () => {
  const { scene, options, told, logged } = stage()
  const broken = hook(
    'broken',
    async () => {
      throw new Error('webhook is down')
    },
    { stage: 'closed' },
  )
  await runObservers(waves([broken, hook('counter', () => no, { stage: 'closed' })]), scene, options('closed'))
  expect(told).toEqual(['broken error', 'counter reject'])
  expect(logged).toHaveLength(1)
})
