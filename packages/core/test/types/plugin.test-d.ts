// What the compiler must accept and refuse of a plugin; checked by `tsc -b`, never run.
import {
  type Call,
  type Credentials,
  defer,
  definePlugin,
  discard,
  type HookTable,
  localState,
  messageState,
  recipientState,
  reject,
  Storage,
  sessionState,
  token,
} from '@posthorn/core'
import * as z from 'zod'

interface Dns {
  confirmedNames(ip: string, signal: AbortSignal): Promise<string[]>
}
const dns = token<Dns>('core/dns', ['confirmedNames'])
const confirmedName = sessionState<'pass' | 'none'>('fcrdns/confirmed')

/** A whole plugin: forward-confirmed reverse DNS. */
export const fcrdns = definePlugin({
  name: 'fcrdns',
  schema: z.strictObject({ strict: z.boolean().default(false).describe('Refuse clients without a confirmed name') }),
  inject: { dns },
  setup({ services }, options) {
    return {
      connect: {
        writes: [confirmedName],
        timeout: 5_000,
        async handler(session, { signal }) {
          if (!session.client) return
          const names = await services.dns.confirmedNames(session.client.ip, signal)
          session.state.set(confirmedName, names.length > 0 ? 'pass' : 'none')
          if (options.strict && names.length === 0) return reject(550, '5.7.25', 'Reverse DNS check failed')
        },
      },
    }
  },
})

/** A tap: sees the body as it streams, speaks at the end. */
export const counter = definePlugin({
  name: 'counter',
  schema: z.strictObject({}),
  setup: () => ({
    rcpt: (_tx, to) => (to.address.domain === 'ours.example' ? 'accept' : undefined),
    data() {
      let bytes = 0
      return {
        write(chunk) {
          bytes += chunk.length
        },
        end(message) {
          message.prepend('X-Bytes', String(bytes))
          if (bytes !== message.size) return defer(451, '4.3.0', 'Try again later')
        },
      }
    },
  }),
})

/** Every stage, each with what it may answer. */
export const everything: HookTable = {
  connect: () => reject(554, '5.7.1', 'No', { close: true }),
  helo: (_session, name) => (name === '' ? defer(421, '4.7.0', 'Later') : undefined),
  auth: (_session, credentials) => (credentials.kind === 'password' ? { user: credentials.username } : undefined),
  mail: () => discard('spam trap'),
  resolve: (_tx, to) => ({ to: [to] }),
  rcpt: { handler: () => 'accept' as const, effect: true },
  data: async () => undefined,
  seal: () => [['X-Sealed', 'yes']],
  queue: (_message, to) => new Map(to.map(target => [target.id, discard('journal')])),
  answered: (_tx, reply) => void reply.code,
  outcome: (_message, _to, outcome) => void outcome.kind,
  closed: session => void session.id,
  ready: async () => {},
  drain: async ({ log }) => log.info({}, 'bye'),
  deliver: {
    route: () => ({ lane: 'x', data: null }),
    send: async (_message, to, _route, call) => {
      for (const { id } of to) call.report(id, { kind: 'delivered', by: 'x' })
    },
  },
}

// @ts-expect-error 450 is not a permanent code
reject(450, '5.7.1', 'x')
// @ts-expect-error the class of the enhanced code must match
reject(550, '4.7.1', 'x')
// @ts-expect-error an enhanced code is required
reject(550, 'denied')
// @ts-expect-error 550 is not a temporary code
defer(550, '4.7.1', 'x')

definePlugin({
  name: 'x',
  schema: z.object({ a: z.number() }),
  // @ts-expect-error no such hook
  setup(ctx, o) {
    // @ts-expect-error options come from the schema
    o.b
    // @ts-expect-error not injected
    ctx.services.dns
    return { mial() {} }
  },
})
definePlugin({
  name: 'z',
  schema: z.object({}),
  // @ts-expect-error no such hook, although another is right
  setup() {
    return { connect() {}, rctp() {} }
  },
})
definePlugin({
  name: 'z',
  schema: z.object({}),
  // @ts-expect-error the same, async
  async setup() {
    return { connect() {}, rctp() {} }
  },
})
definePlugin({
  name: 'z',
  schema: z.object({}),
  async setup() {
    return { rcpt: (_t, to) => (to.address.domain === 'a' ? 'accept' : undefined) }
  },
})
definePlugin({
  name: 'y',
  schema: z.object({}),
  setup: () => ({
    // @ts-expect-error a gate may not accept
    mail: () => 'accept',
  }),
})
definePlugin({
  name: 'y',
  schema: z.object({}),
  setup: () => ({
    // @ts-expect-error a session is not discarded
    connect: () => discard('x'),
  }),
})
definePlugin({
  name: 'y',
  schema: z.object({}),
  setup: () => ({
    // @ts-expect-error roles are listener roles
    mail: { handler: () => {}, on: ['mxx'] },
  }),
})

// @ts-expect-error message state is stored, so it must be JSON
messageState<Map<string, Date>>('seen/at')
// @ts-expect-error session state is JSON
sessionState<Map<string, string>>('x/m')
// @ts-expect-error recipient state is JSON
recipientState<() => void>('x/r')
localState<Map<string, Date>>('x/sockets')
// @ts-expect-error names are qualified
messageState<string>('seen')

interface Mixed {
  sync(): number
  ok(a: string): Promise<number>
}
token<Mixed>('x/mixed', ['ok'])
// @ts-expect-error a sync method cannot be remote
token<Mixed>('x/mixed', ['sync'])
// @ts-expect-error names are qualified
token<Mixed>('mixed')

export const stateful = definePlugin({
  name: 'stateful',
  schema: z.strictObject({}),
  inject: { store: Storage },
  provides: [dns],
  setup(ctx) {
    ctx.services.store.get('key')
    ctx.provide(dns, { confirmedNames: async () => [] })
    // @ts-expect-error not what the token promises
    ctx.provide(dns, { confirmedNames: () => [] })
    return {
      mail(tx) {
        const note = messageState<number>('stateful/n')
        tx.state.set(note, 1)
        // @ts-expect-error of another type
        tx.state.set(note, 'one')
        // @ts-expect-error of another scope
        tx.state.get(confirmedName)
        // @ts-expect-error the session's signal and state, not its socket
        tx.session.socket
      },
    }
  },
})

declare const credentials: Credentials
// @ts-expect-error a secret comes out by `reveal()` only, and only where there is one
credentials.password
declare const call: Call
// @ts-expect-error read only
call.signal = AbortSignal.abort()
