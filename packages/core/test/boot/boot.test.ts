import { expect, test } from 'vitest'
import * as z from 'zod'
import type { PosthornErrors } from '../../src/errors.ts'
import { messageState } from '../../src/state.ts'
import { token } from '../../src/token.ts'
import { loaded, plugin, server, wrong } from './build.ts'

const Store = token<{ name: string }>('core/storage')
const Dns = token<{ name: string }>('core/dns')
const Mail = token<{ name: string }>('mailbox/store')

test('plugins get services from the core and from each other, whatever their order in the list', async () => {
  const order: string[] = []
  const user = plugin(
    'imap',
    ({ services, name }) => void order.push(`${name} ${services.mail.name} ${services.dns.name}`),
    { inject: { mail: Mail, dns: Dns } },
  )
  const provider = plugin(
    'mailbox',
    ctx => {
      order.push(`${ctx.name} ${ctx.services.store.name}`)
      ctx.provide(Mail, { name: 'mail' })
    },
    { inject: { store: Store }, provides: [Mail] },
  )
  const store = plugin('storage-level', ctx => ctx.provide(Store, { name: 'level' }), { provides: [Store] })
  const { generations } = server({ services: [[Dns, { name: 'dns' }]] })
  const generation = await generations.start(loaded(user, provider, store))
  expect(order).toEqual(['mailbox level', 'imap mail dns'])
  expect(generation.get(Mail)).toEqual({ name: 'mail' })
  expect(generation.get(Dns)).toEqual({ name: 'dns' })
  expect(generation.get(token('no/such'))).toBeUndefined()
  expect(generation.plugins.map(({ name }) => name)).toEqual(['imap', 'mailbox', 'storage-level'])
})

test('a service of undefined value is a service', async () => {
  const Nothing = token<undefined>('x/nothing')
  const x = plugin('x', ctx => ctx.provide(Nothing, undefined), { provides: [Nothing] })
  const y = plugin('y', () => {}, { inject: { nothing: Nothing } })
  await server().generations.start(loaded(y, x))
})

test('a missing service names the plugin, the token and who could provide it', async () => {
  const { generations } = server({ hints: { 'core/storage': 'storage-level' } })
  const queue = plugin('greylist', () => {}, { inject: { store: Store, dns: Dns, typo: undefined as never } })
  expect(await wrong(generations.start(loaded(plugin('a'), queue)))).toEqual([
    'plugins[1]: plugin greylist needs core/storage, which no plugin provides | Add storage-level to the plugins.',
    'plugins[1]: plugin greylist needs core/dns, which no plugin provides | Add a plugin that provides core/dns.',
    'plugins[1]: plugin greylist injects `typo`, which is not a token | Import the token from the package that makes the service.',
  ])
})

test('two providers of one token, and a cycle of services', async () => {
  const { generations } = server({ services: [[Dns, { name: 'dns' }]] })
  const provides = (name: string) => plugin(name, () => {}, { provides: [Store] })
  expect(
    await wrong(
      generations.start(
        loaded(
          provides('a'),
          provides('b'),
          plugin('c', () => {}, { provides: [Dns] }),
        ),
      ),
    ),
  ).toEqual([
    'plugins[0], plugins[1]: core/storage is provided by plugin b and by plugin a | Take b or a out of the list.',
    'plugins[2]: core/dns is provided by plugin c and by the core | Take c out of the list.',
  ])
  const a = plugin('a', () => {}, { provides: [Store], inject: { mail: Mail } })
  const b = plugin('b', () => {}, { provides: [Mail], inject: { store: Store } })
  expect(
    await wrong(
      generations.start(
        loaded(
          plugin('c', () => {}, { inject: { store: Store } }),
          a,
          b,
        ),
      ),
    ),
  ).toEqual([
    "plugins[1], plugins[2]: plugins need each other's services: a → b → a | Take one of a, b out of the list.",
  ])
})

test('options are checked for all plugins at once, before any is set up', async () => {
  let ran = 0
  const schema = z.strictObject({ host: z.string(), port: z.number().default(25) })
  const relay = plugin('relay', () => void ran++, { schema })
  const { generations } = server()
  const config = loaded(
    { plugin: relay, options: { host: 'mx', prot: 25 } },
    { plugin: relay, as: 'relay-2', options: { port: '25' } },
    { plugin: plugin('strict', () => void ran++), options: { a: 1 } },
  )
  expect(await wrong(generations.start(config))).toEqual([
    'plugins[0].options.prot: plugin relay: unknown option "prot" | Did you mean "port"?',
    'plugins[1].options.host: plugin relay-2: missing: expected a string | undefined',
    'plugins[1].options.port: plugin relay-2: expected a number, found "25" | undefined',
    'plugins[2].options.a: plugin strict: unknown option "a" | There are no options here.',
  ])
  expect(ran).toBe(0)
})

test('a lenient schema is no excuse for unknown options', async () => {
  const schema = z.object({
    host: z.string(),
    pool: z.object({ size: z.number() }).optional(),
    free: z.looseObject({}).optional(),
    list: z.array(z.object({ name: z.string() })).optional(),
  })
  const options = {
    host: 'mx',
    pool: { size: 1, sise: 2 },
    free: { any: 1 },
    hots: 'mx',
    list: [{ name: 'a', nam: 'b' }],
  }
  const { generations } = server()
  expect(await wrong(generations.start(loaded({ plugin: plugin('relay', () => {}, { schema }), options })))).toEqual([
    'plugins[0].options.pool.sise: plugin relay: unknown option "sise" | Did you mean "size"?',
    'plugins[0].options.hots: plugin relay: unknown option "hots" | Did you mean "host"?',
    'plugins[0].options.list[0].nam: plugin relay: unknown option "nam" | Did you mean "name"?',
  ])
})

test('any Standard Schema will do, and one that throws is an error with a place', async () => {
  const schema = (validate: (value: unknown) => any) => ({
    '~standard': { version: 1 as const, vendor: 'own', validate },
  })
  let got: unknown
  const { generations } = server()
  const good = plugin(
    'good',
    (_ctx, options) => {
      got = options
    },
    {
      schema: schema(async () => ({ value: { n: 1 } })),
    },
  )
  await generations.start(loaded(good))
  expect(got).toEqual({ n: 1 })
  const bad = plugin('bad', () => {}, {
    schema: schema(() => ({ issues: [{ message: 'too odd', path: [{ key: 'n' }] }] })),
  })
  const broken = plugin('broken', () => {}, {
    schema: schema(() => {
      throw new Error('boom')
    }),
  })
  expect(await wrong(generations.reload(loaded(bad, broken)))).toEqual([
    'plugins[0].options.n: plugin bad: too odd | undefined',
    'plugins[1]: plugin broken: its schema could not check the options: boom | undefined',
  ])
})

test('names are unique and plain', async () => {
  const { generations } = server()
  expect(
    await wrong(
      generations.start(loaded(plugin('a'), plugin('a'), plugin('core'), { plugin: plugin('b'), as: 'B/c' })),
    ),
  ).toEqual([
    "plugins[0], plugins[1]: two plugins go by the name a | Give one of them another: { use: 'a', as: 'a-2' }.",
    'plugins[2]: "core" cannot be the name of a plugin | Use small letters, digits, dots and dashes, at most 64, and not "core".',
    'plugins[3]: "B/c" cannot be the name of a plugin | Use small letters, digits, dots and dashes, at most 64, and not "core".',
  ])
})

test('several instances of a plugin: names their own, state keys and tokens in common', async () => {
  const key = messageState<string>('dnsbl/listed')
  const dnsbl = plugin('dnsbl', () => ({ mail: { handler: () => undefined, writes: [key] } }))
  const score = plugin('score', () => ({ mail: { handler: () => undefined, reads: [key] } }))
  const { generations } = server()
  const { plan } = await generations.start(
    loaded(score, { plugin: dnsbl, as: 'mx-list' }, { plugin: dnsbl, as: 'sub-list', on: ['submission'] }),
  )
  expect(plan.stages.mail.waves.map(wave => wave.map(entry => entry.plugin))).toEqual([
    ['mx-list', 'sub-list'],
    ['score'],
  ])
})

test('what is wrong with hooks stops the boot, and closes what was opened', async () => {
  const closed: string[] = []
  const typo = plugin('typo', ctx => {
    ctx.onDispose(() => void closed.push('typo'))
    return { rctp: () => undefined } as object
  })
  const { generations } = server()
  expect(await wrong(generations.start(loaded(typo)))).toEqual([
    'plugins[0]: plugin typo: no such hook: rctp | Did you mean rcpt?',
  ])
  expect(closed).toEqual(['typo'])
  expect(() => generations.current).toThrow('no configuration is running')
})

test('a setup that throws names the plugin, keeps the cause, and undoes all, last first', async () => {
  const closed: string[] = []
  const opens = (name: string, then: () => void = () => {}) =>
    plugin(name, ctx => {
      ctx.onDispose(() => void closed.push(`${name} 1`))
      ctx.onDispose(async () => {
        closed.push(`${name} 2`)
        if (name === 'b') throw new Error('stuck')
      })
      then()
    })
  const { generations, logged } = server()
  const attempt = generations.start(
    loaded(
      opens('a'),
      opens('b'),
      opens('c', () => {
        throw new Error('ECONNREFUSED')
      }),
      opens('d'),
    ),
  )
  const error = (await attempt.catch(e => e)) as PosthornErrors
  expect(error.errors[0]).toMatchObject({
    code: 'POSTHORN_PLUGIN_SETUP',
    at: 'plugins[2]',
    message: 'plugin c could not be set up: ECONNREFUSED',
    cause: { message: 'ECONNREFUSED' },
  })
  expect(closed).toEqual(['c 2', 'c 1', 'b 2', 'b 1', 'a 2', 'a 1'])
  expect(logged.filter(({ level }) => level === 'error')).toMatchObject([
    { plugin: 'b', message: 'disposing of b failed' },
  ])
})

test('a setup that never ends is given up; what it opens later is closed at once', async () => {
  const events: string[] = []
  const wait = Promise.withResolvers<void>()
  const slow = plugin('slow', async ctx => {
    await wait.promise
    ctx.onDispose(() => void events.push('closed'))
    await ctx.shared(
      'pool',
      null,
      () => void events.push('open'),
      () => void events.push('shut'),
    )
  })
  const { generations, clock } = server()
  const attempt = wrong(generations.start(loaded(slow)))
  await clock.settle()
  await clock.advance(60_000)
  expect((await attempt)[0]).toContain('plugin slow could not be set up: did not finish in 60 seconds')
  wait.resolve()
  await clock.settle()
  expect(events).toEqual(['open', 'closed', 'shut'])
  expect(generations.shared.keys).toEqual([])
})

test('a disposal that hangs does not keep the others open', async () => {
  const closed: string[] = []
  const a = plugin('a', ctx => ctx.onDispose(() => void closed.push('a')))
  const b = plugin('b', ctx => ctx.onDispose(() => new Promise(() => {})))
  const { generations, clock, logged } = server()
  await generations.start(loaded(a, b))
  const closing = generations.close()
  await clock.settle()
  await clock.advance(30_000)
  await closing
  expect(closed).toEqual(['a'])
  expect(logged.find(({ level }) => level === 'error')).toMatchObject({ plugin: 'b' })
})

test('promises of services are kept: all of them, no others, in time', async () => {
  const { generations } = server()
  expect(await wrong(generations.start(loaded(plugin('a', () => {}, { provides: [Store] }))))).toEqual([
    'plugins[0]: plugin a could not be set up: it did not provide core/storage, which it promises | Call ctx.provide(token, value) in setup.',
  ])
  const more = plugin('b', ctx => ctx.provide(Store, { name: 'x' }))
  expect((await wrong(generations.start(loaded(more))))[0]).toContain(
    'it provided core/storage, which it did not promise',
  )
  let late: () => void = () => {}
  const c = plugin(
    'c',
    ctx => {
      ctx.provide(Store, { name: 'x' })
      late = () => ctx.provide(Store, { name: 'y' })
    },
    { provides: [Store] },
  )
  await generations.start(loaded(c))
  expect(late).toThrow('after its setup')
})

test('ready runs after all setups; one that fails stops the boot', async () => {
  const events: string[] = []
  const ready = (name: string, fails = false) =>
    plugin(name, ctx => {
      events.push(`set up ${name}`)
      ctx.onDispose(() => void events.push(`closed ${name}`))
      return {
        ready: async () => {
          events.push(`ready ${name}`)
          if (fails) throw new Error('no route to host')
        },
      }
    })
  const { generations } = server()
  expect(await wrong(generations.start(loaded(ready('a'), ready('b', true), ready('c'))))).toEqual([
    'plugins[1]: plugin b did not get ready: no route to host | Correct what it depends on, or take it out of the list.',
  ])
  expect(events).toEqual(['set up a', 'set up b', 'set up c', 'ready a', 'ready b', 'closed c', 'closed b', 'closed a'])
})
