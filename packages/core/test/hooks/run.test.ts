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

test.each([
  [
    'throws',
    () => {
      throw new Error('boom')
    },
    'error',
  ],
  [
    'throws undefined',
    () => {
      throw undefined
    },
    'error',
  ],
  [
    'rejects',
    async () => {
      throw new Error('boom')
    },
    'error',
  ],
  ['answers null', () => null, 'nonsense'],
  ['answers true', () => true, 'nonsense'],
  ['accepts in a gate that cannot', () => 'accept', 'nonsense'],
  ['answers an unknown object', () => ({ kind: 'tempfail' }), 'nonsense'],
  ['rejects with a temporary code', () => ({ ...no, code: 450 }), 'nonsense'],
  ['writes a second reply line', () => ({ ...no, text: 'No\r\n250 Ok' }), 'nonsense'],
  [
    'answers a trap',
    () => ({
      get kind() {
        throw new Error('trap')
      },
    }),
    'nonsense',
  ],
  [
    'answers a thenable that throws',
    () => ({
      // biome-ignore lint/suspicious/noThenProperty: a plugin may answer this
      get then() {
        throw new Error('trap')
      },
    }),
    'error',
  ],
])('a hook that %s becomes the temporary failure of its stage', async (_what, handler, fault) => {
  const { scene, options, told, units, logged } = stage()
  const other = hook('other', () => undefined)
  const result = await runGate(waves([hook('bad', handler), other]), scene, options())
  expect(result.verdict).toMatchObject({ code: 451, enhanced: '4.3.0' })
  expect(result.by).toBe('bad')
  expect(told).toEqual([`bad ${fault}`, 'other -'])
  expect(units).toEqual(['bad:drop', 'other:keep'])
  expect(logged).toEqual([expect.stringMatching(/^hook mail of bad failed: /)])
})

test('the failure of connect is 421 and that of auth 454', async () => {
  const boom = () => {
    throw new Error('boom')
  }
  const { scene, options } = stage()
  const connect = await runGate(waves([hook('a', boom, { stage: 'connect' })]), scene, options('connect'))
  expect(connect.verdict).toMatchObject({ code: 421, enhanced: '4.3.2' })
  const auth = await runFirst(waves([hook('a', boom, { stage: 'auth' })]), scene, options('auth'))
  expect(auth.verdict).toMatchObject({ code: 454, enhanced: '4.7.0' })
})

test('onError: ignore goes on without the hook, and drops what it did', async () => {
  const { scene, options, units } = stage()
  const bad = hook(
    'bad',
    async () => {
      throw new Error('boom')
    },
    { onError: 'ignore' },
  )
  const result = await runGate(waves([bad], [hook('next', () => undefined)]), scene, options())
  expect(result.verdict).toBeUndefined()
  expect(units).toEqual(['bad:drop', 'next:keep'])
})

test('a hook that never settles is given up after its timeout, and its late answer changes nothing', async () => {
  const { scene, options, clock, units, told } = stage()
  const never = pending<unknown>()
  let signal: AbortSignal | undefined
  const slow = hook(
    'slow',
    call => {
      signal = call.signal
      return never.promise
    },
    { timeout: 1000 },
  )
  let result: GateResult | undefined
  const running = Promise.resolve(runGate(waves([slow]), scene, options())).then(r => {
    result = r
  })
  await clock.advance(1000 - 50)
  expect(result).toBeUndefined()
  expect(signal?.aborted).toBe(false)
  await clock.advance(100)
  await running
  expect(result?.verdict).toMatchObject({ code: 451, enhanced: '4.3.0' })
  expect(signal?.reason).toMatchObject({ message: 'timed out' })
  never.reject(new Error('much later'))
  await clock.settle()
  expect(units).toEqual(['slow:drop'])
  expect(told).toEqual(['slow timeout'])
})

test('a late or second answer does not end the wave before its other hooks', async () => {
  const { scene, options, clock, units } = stage()
  const late = pending<unknown>()
  const last = pending<unknown>()
  const twice = {
    // biome-ignore lint/suspicious/noThenProperty: a plugin may answer this
    then(ok: (value: unknown) => void, fail: (error: Error) => void) {
      ok(undefined)
      ok(no)
      fail(new Error('and now this'))
    },
  }
  const plan = waves([
    hook('late', () => late.promise, { timeout: 100 }),
    hook('twice', () => twice),
    hook('last', () => last.promise),
  ])
  let result: GateResult | undefined
  const running = Promise.resolve(runGate(plan, scene, options())).then(r => {
    result = r
  })
  await clock.advance(200)
  late.resolve(no)
  await clock.settle()
  expect(result).toBeUndefined()
  last.resolve(undefined)
  await running
  expect(result).toMatchObject({ verdict: { code: 451 }, by: 'late' })
  expect(units).toEqual(['late:drop', 'twice:keep', 'last:keep'])
})

test('no timer waits when no hook does', async () => {
  const { scene, options, clock } = stage()
  await runGate(waves([hook('a', async () => undefined)]), scene, options())
  expect(clock.timers).toBe(1)
  await clock.advance(50)
  expect(clock.timers).toBe(0)
})

test('a deadline that several stages share cuts the last one short', async () => {
  const { scene, options, clock } = stage()
  const slow = hook('slow', () => new Promise(() => {}), { timeout: 60_000 })
  const running = runGate(waves([slow]), scene, options('mail', { deadline: clock.monotonic() + 500 }))
  await clock.advance(550)
  expect((await running).settled[0]?.fault?.kind).toBe('timeout')
  const none = runGate(waves([slow]), scene, options('mail', { deadline: clock.monotonic() }))
  expect((none as GateResult).settled[0]?.fault?.kind).toBe('timeout')
})

test('the signal of a call aborts when the client goes', async () => {
  const { scene, options, parent } = stage()
  const gone = pending<undefined>()
  let signal: AbortSignal | undefined
  const running = runGate(
    waves([
      hook('a', call => {
        signal = call.signal
        return gone.promise
      }),
    ]),
    scene,
    options(),
  )
  parent.abort(new Error('hang-up'))
  expect(signal?.reason).toMatchObject({ message: 'hang-up' })
  gone.resolve(undefined)
  await running
})

test('a settled call is not told of a hang-up, and leaves nothing in the session', async () => {
  const { scene, options, parent } = stage()
  let signal: AbortSignal | undefined
  const reads = hook('a', async call => {
    signal = call.signal
  })
  await runGate(waves([reads]), scene, options())
  parent.abort(new Error('hang-up'))
  expect(signal?.aborted).toBe(false)
})

test('a signal first read after the call is aborted already', async () => {
  const { scene, options } = stage()
  let kept: { readonly signal: AbortSignal } | undefined
  await runGate(
    waves([
      hook('a', call => {
        kept = call
      }),
    ]),
    scene,
    options(),
  )
  expect(kept?.signal.aborted).toBe(true)
})

test('a call can be taken apart', () => {
  const { scene, options, clock } = stage()
  let seen = 0
  void runGate(
    waves([
      hook('a', ({ now }) => {
        seen = now()
      }),
    ]),
    scene,
    options(),
  )
  expect(seen).toBe(clock.now())
})

test('skipped calls are told, hooks of other roles are not', () => {
  const { scene, options, told } = stage()
  const partner = hook('dnsbl', () => no, { unless: facts => facts.origin.client?.ip === '198.51.100.7' })
  const inside = hook('dkim', () => no, { on: new Set(['internal']) })
  expect(runGate(waves([partner, inside]), scene, options())).not.toHaveProperty('verdict')
  expect(told).toEqual(['dnsbl skipped'])
})

test('an `unless` that throws fails closed', () => {
  const { scene, options, told } = stage()
  const bad = hook('a', () => undefined, {
    unless: () => {
      throw new Error('boom')
    },
  })
  expect(runGate(waves([bad]), scene, options())).toMatchObject({ verdict: { code: 451 } })
  expect(told).toEqual(['a error'])
})

test.each(['junk', 'ignore'] as const)('objection: %s takes the objection away and says so', objection => {
  const { scene, options, told, units } = stage()
  const spam = hook('spam', () => no, { objection })
  const result = runGate(waves([spam], [hook('next', () => undefined)]), scene, options())
  expect(result).not.toHaveProperty('verdict')
  expect(told).toEqual([`spam reject (${objection})`, 'next -'])
  expect(units).toEqual(['spam:keep', 'next:keep'])
})

test('objection: junk does not excuse a fault', async () => {
  const { scene, options } = stage()
  const bad = hook('bad', async () => 'rubbish', { objection: 'junk' })
  expect((await runGate(waves([bad]), scene, options())).verdict).toMatchObject({ code: 451 })
})

test('a unit that cannot be kept is a fault of its hook', () => {
  const told: string[] = []
  const { scene, options } = stage({
    open: entry => ({
      run: () => undefined,
      keep() {
        throw new Error('too large')
      },
      drop: () => void told.push(`${entry.plugin}:drop`),
    }),
  })
  expect(runGate(waves([hook('a', () => undefined)]), scene, options())).toMatchObject({
    verdict: { code: 451 },
    by: 'a',
  })
  expect(told).toEqual(['a:drop'])
})

test('handles die when the call settles, units are kept when the wave ends', async () => {
  const events: string[] = []
  const slow = pending<undefined>()
  const { scene, options } = stage({
    open: entry => ({
      run: call => entry.handler(call),
      settle: () => void events.push(`${entry.plugin}:settle`),
      keep: () => void events.push(`${entry.plugin}:keep`),
      drop() {},
    }),
  })
  const running = runGate(waves([hook('a', () => slow.promise), hook('b', () => undefined)]), scene, options())
  expect(events).toEqual(['b:settle'])
  slow.resolve(undefined)
  await running
  expect(events).toEqual(['b:settle', 'a:settle', 'a:keep', 'b:keep'])
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
