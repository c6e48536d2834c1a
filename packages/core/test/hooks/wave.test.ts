// One call in its wave: what it may answer, how long it may take, and what becomes of what it did.
import { expect, test } from 'vitest'
import type { GateResult } from '../../src/hooks/contract.ts'
import { runFirst, runGate } from '../../src/hooks/run.ts'
import { reject } from '../../src/verdict.ts'
import { hook, pending, stage, waves } from './stage.ts'

const no = reject(550, '5.7.1', 'No')

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
