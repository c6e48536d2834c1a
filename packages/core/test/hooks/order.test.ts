import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { PosthornErrors } from '../../src/errors.ts'
import type { StagePlan } from '../../src/hooks/contract.ts'
import { buildPlan, type Instance } from '../../src/hooks/order.ts'
import type { HookSpec, HookTable } from '../../src/plugin.ts'
import { localState, messageState, sessionState } from '../../src/state.ts'

type Mail = HookSpec<() => undefined>
const handler = () => undefined
const allowed = sessionState<boolean>('access/allowed')
const listed = sessionState<boolean>('dnsbl/listed')

const plugin = (name: string, table: HookTable | object, more: Partial<Instance> = {}): Instance => ({
  name,
  plugin: name,
  rank: 0,
  table: table as HookTable,
  ...more,
  settings: { at: `plugins[${name}]`, onError: 'fail', objection: 'keep', ...more.settings },
})

/** In the order of a config's list. */
const plan = (...instances: Instance[]) => buildPlan(instances.map((instance, rank) => ({ ...instance, rank })))
const mail = (spec: Omit<Mail, 'handler'> = {}): HookTable => ({ mail: { handler, ...spec } })
const names = ({ waves, effects }: StagePlan) => [
  ...waves.map(wave => wave.map(entry => entry.plugin).join(' ')),
  ...effects.map(wave => `effect: ${wave.map(entry => entry.plugin).join(' ')}`),
]

const errors = (...instances: Instance[]) => {
  try {
    plan(...instances)
  } catch (error) {
    return (error as PosthornErrors).errors.map(({ code, message, at, fix }) => ({ code, message, at, fix }))
  }
  throw new Error('it was accepted')
}

test('hooks with no path between them share a wave, in config order', () => {
  expect(names(plan(plugin('b', mail()), plugin('a', mail())).stages.mail)).toEqual(['b a'])
})

test('a hook runs after those that write what it reads', () => {
  const { stages } = plan(
    plugin('score', mail({ reads: [listed] })),
    plugin('dnsbl', mail({ writes: [listed] })),
    plugin('other', mail()),
  )
  expect(names(stages.mail)).toEqual(['dnsbl other', 'score'])
})

test('each hook is in the earliest wave that it can be in', () => {
  const { stages } = plan(
    plugin('d', mail({ after: ['c', 'a'] })),
    plugin('c', mail({ after: ['b'] })),
    plugin('b', mail({ after: ['a'] })),
    plugin('a', mail()),
    plugin('first', mail({ before: ['b'] })),
  )
  expect(names(stages.mail)).toEqual(['a first', 'b', 'c', 'd'])
})

test('effects come last, ordered among themselves', () => {
  const { stages } = plan(
    plugin('greylist', mail({ effect: true, after: ['limits'] })),
    plugin('limits', mail({ effect: true })),
    plugin('spf', mail()),
  )
  expect(names(stages.mail)).toEqual(['spf', 'effect: limits', 'effect: greylist'])
})

test('an `unless` that asks for a state runs after the hook that writes it', () => {
  const dnsbl = plugin('dnsbl', mail(), {
    settings: { at: '', onError: 'fail', objection: 'keep', unless: { state: ['access/allowed'] } },
  })
  const { stages } = plan(dnsbl, plugin('access', mail({ writes: [allowed] })))
  expect(names(stages.mail)).toEqual(['access', 'dnsbl'])
})

test('a name means the instance that goes by it, else all instances of the plugin', () => {
  const instances = [
    plugin('policy', mail({ after: ['dnsbl'] })),
    plugin('dnsbl-mx', mail(), { plugin: 'dnsbl' }),
    plugin('dnsbl-sub', mail(), { plugin: 'dnsbl' }),
  ]
  expect(names(plan(...instances).stages.mail)).toEqual(['dnsbl-mx dnsbl-sub', 'policy'])
  const exact = plugin('dnsbl', mail(), { plugin: 'other' })
  expect(names(plan(...instances, exact).stages.mail)).toEqual(['dnsbl-mx dnsbl-sub dnsbl', 'policy'])
})

test('instances that read and write one key go in config order', () => {
  const count = messageState<number>('count/n')
  const spec = mail({ reads: [count], writes: [count] })
  expect(names(plan(plugin('b', spec), plugin('a', spec)).stages.mail)).toEqual(['b', 'a'])
})

test('local state orders nobody', () => {
  const socket = localState<object>('milter/socket')
  const { stages } = plan(plugin('a', mail({ reads: [socket] })), plugin('b', mail({ writes: [socket] })))
  expect(names(stages.mail)).toEqual(['a b'])
})

test('absent names are told, not refused', () => {
  const { absent } = plan(plugin('a', mail({ after: ['rspamd'], before: ['b'] })), plugin('b', {}))
  expect(absent).toEqual([{ plugin: 'a', stage: 'mail', name: 'rspamd' }])
})

test('a cycle names the plugins, their places, the reasons and the fix', () => {
  expect(
    errors(
      plugin('a', mail({ reads: [listed] })),
      plugin('b', mail({ writes: [listed], after: ['a'] })),
      plugin('c', mail()),
    ),
  ).toEqual([
    {
      code: 'POSTHORN_ORDER_CYCLE',
      message: "hook mail has no order: a → b → a: b after a (after: ['a']), a after b (a reads dnsbl/listed)",
      at: 'plugins[a], plugins[b]',
      fix: 'Drop one of these conditions, or take one of a, b out of the list.',
    },
  ])
})

test('nobody can wait for an effect but another effect', () => {
  expect(errors(plugin('a', mail({ after: ['grey'] })), plugin('grey', mail({ effect: true })))).toMatchObject([
    { code: 'POSTHORN_ORDER_EFFECT', at: 'plugins[a], plugins[grey]' },
  ])
})

test('what is mistyped is refused, with the nearest name, all of it at once', () => {
  expect(
    errors(
      plugin('x', { rctp: handler, connect: handler, mail: { handler, befor: ['y'] } }),
      plugin('y', { data: { handler: 'no' }, rcpt: 'yes', deliver: { route: handler, sned: handler } }),
      plugin('z', {
        helo: { handler, reads: ['dnsbl/listed'], on: ['mxx'], timeout: '5s', effect: 'yes', after: 'x' },
      }),
    ).map(({ message, fix }) => `${message} | ${fix}`),
  ).toEqual([
    'plugin x: no such hook: rctp | Did you mean rcpt?',
    'plugin x: no such key in hook mail: befor | Did you mean before?',
    'plugin y: hook data has no handler | Give it a function, as `handler`.',
    'plugin y: hook rcpt is neither a function nor { handler, … } | Write the function, or { handler: function, … }.',
    'plugin y: no such function in deliver: sned | Did you mean send?',
    'plugin y: deliver has no send | An agent has the functions route and send.',
    'plugin z: `reads` of hook helo is not a list of state keys | Import the keys and list them; names will not do.',
    "plugin z: `after` of hook helo is not a list of plugin names | Write after: ['name'].",
    'plugin z: `effect` of hook helo is not true | Write effect: true, or leave it out.',
    '`on` of hook helo'.replace(/^/, 'plugin z: ') +
      ' is not a list of listener roles | The roles are mx, submission, lmtp, access, internal.',
    'plugin z: the timeout of hook helo is not a number of milliseconds | Write a number over 0.',
  ])
})

test('a plugin that returns no table is refused', () => {
  expect(errors(plugin('x', undefined as never))).toMatchObject([
    { message: 'plugin x: setup returned undefined instead of hooks' },
  ])
})

test("the operator's overrides win", () => {
  const settings = { at: '', on: ['internal'], onError: 'ignore', objection: 'junk', timeout: 7 } as const
  const { stages } = plan(
    plugin('x', mail({ on: ['mx'], timeout: 9 }), { settings }),
    plugin('y', mail({ timeout: 9 })),
  )
  expect(stages.mail.waves[0]).toMatchObject([
    { plugin: 'x', timeout: 7, onError: 'ignore', objection: 'junk', on: new Set(['internal']) },
    { plugin: 'y', timeout: 9, onError: 'fail', objection: 'keep' },
  ])
})

test('`on` and `unless` do not keep a plugin from getting ready', () => {
  const settings = { at: '', on: ['submission'], unless: { user: ['a'] }, onError: 'fail', objection: 'keep' } as const
  const [entry] = plan(plugin('x', { ready: handler }, { settings })).stages.ready.waves[0] ?? []
  expect(entry?.on.has('internal')).toBe(true)
  expect(entry?.unless).toBeUndefined()
})

test('the list of agents is in config order', () => {
  const deliver = { route: handler, send: async () => undefined }
  const { agents } = plan(plugin('b', { deliver }), plugin('no', {}), plugin('a', { deliver }))
  expect(agents.map(({ plugin: name }) => name)).toEqual(['b', 'a'])
})

test('any conditions either give an order that keeps all of them, or a cycle error', () => {
  const specs = fc.array(
    fc.record({ after: fc.uniqueArray(fc.nat(6)), before: fc.uniqueArray(fc.nat(6)), effect: fc.boolean() }),
    { maxLength: 7 },
  )
  void fc.assert(
    fc.property(specs, all => {
      const named = (ids: number[]) => ids.map(id => `p${id}`)
      const instances = all.map(({ after, before, effect }, i) =>
        plugin(`p${i}`, mail({ after: named(after), before: named(before), ...(effect ? { effect } : {}) })),
      )
      let order: string[]
      try {
        const { stages } = plan(...instances)
        order = names(stages.mail)
      } catch (error) {
        expect(error).toBeInstanceOf(PosthornErrors)
        return
      }
      const place = (name: string) => order.findIndex(wave => wave.replace('effect: ', '').split(' ').includes(name))
      for (const [i, { after, before }] of all.entries()) {
        expect(place(`p${i}`)).toBeGreaterThanOrEqual(0)
        for (const id of after) if (id !== i && id < all.length) expect(place(`p${id}`)).toBeLessThan(place(`p${i}`))
        for (const id of before) if (id !== i && id < all.length) expect(place(`p${i}`)).toBeLessThan(place(`p${id}`))
      }
    }),
  )
})
