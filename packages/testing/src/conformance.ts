// What every plugin must keep, whatever it does. Framework-agnostic: a list of named checks, to be run by any test runner.
import assert from 'node:assert/strict'
import type { AnyPlugin, Token } from '@posthorn/core'
import { type Given, harness } from './harness.ts'

export interface ConformanceOptions {
  /** Options that the plugin takes; default none. */
  readonly options?: unknown
  /** What it injects. */
  readonly services?: readonly (readonly [Token<any>, unknown])[]
  /** A session it is at home in. */
  readonly given?: Given
}

export interface Check {
  readonly name: string
  run(): Promise<void>
}

const eml = 'From: a@client.test\r\nTo: b@example.test\r\nSubject: conformance\r\n\r\nbody\r\n'
/** Header injection, folding, 8-bit and empty values: what a plugin may copy from a message or a session. */
const hostile =
  'From: "a\r\n b" <a@client.test>\r\nSubject: =?utf-8?q?=0D=0ABcc:_x?=\r\nX-Long: ' +
  `${'y'.repeat(2_000)}\r\nX-8bit: \xff\xfe\r\nX-Empty:\r\n\r\n\r\n`

/**
 * The checks: it sets up and disposes again and again; it refuses unknown options by name; it answers the same
 * message the same way twice; hostile headers and names pass it without a fault and without a line of their own in the
 * result; a plugin that is given up on (a hang-up in mid-message) leaves the next message alone.
 */
export function conformance(
  plugin: AnyPlugin,
  { options = {}, services = [], given = {} }: ConformanceOptions = {},
): readonly Check[] {
  const start = (own: unknown = options) => harness([plugin], { options: [own] as never, services })
  return [
    {
      name: `${plugin.name} sets up and disposes, twice`,
      async run() {
        for (const _ of [1, 2]) await (await start())[Symbol.asyncDispose]()
      },
    },
    {
      name: `${plugin.name} refuses an option it does not know`,
      async run() {
        const wrong = { ...(options as object), 'no-such-option': true }
        await assert.rejects(start(wrong), (error: Error) => error.message.includes('no-such-option'))
      },
    },
    {
      name: `${plugin.name} answers the same message the same way twice`,
      async run() {
        await using h = await start()
        const once = await h.message(eml, given)
        const twice = await h.message(eml, given)
        assert.deepEqual(codes(twice), codes(once))
        assert.equal(fields(twice.head), fields(once.head))
      },
    },
    {
      name: `${plugin.name} bears hostile headers and names`,
      async run() {
        await using h = await start()
        const odd: Given = { ...given, helo: '[127.0.0.1]\u00e9"(', from: '"a b"@client.test' }
        const { head, trace } = await h.message(Buffer.from(hostile, 'latin1'), odd)
        assert.ok(!/^bcc:/im.test(head), `a header was smuggled in: ${head}`)
        const faults = trace.filter(e => ['error', 'timeout', 'nonsense'].includes(e.verdict))
        assert.deepEqual(faults, [])
      },
    },
    {
      name: `${plugin.name} lets go of a message that was cut off`,
      async run() {
        await using h = await start()
        const session = h.session(given)
        await session.connect()
        await session.helo('EHLO', 'client.test')
        await session.mail(null, { smtputf8: false, requireTls: false, other: {} })
        session.close()
        const { trace } = await h.message(eml, given)
        assert.deepEqual(
          trace.filter(e => e.verdict === 'error'),
          [],
        )
      },
    },
  ]
}

const codes = ({ replies }: { replies: readonly { code: number; enhanced?: string }[] }) =>
  replies.map(r => `${r.code} ${r.enhanced}`)

/** Names only: dates and ids differ. */
const fields = (head: string) => [...head.matchAll(/^([!-9;-~]+):/gm)].map(m => m[1]).join()
