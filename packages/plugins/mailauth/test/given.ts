// A harness around mailauth: a plugin that accepts everybody, a zone, and mail from a host that is in it.
import { definePlugin } from '@posthorn/core'
import mailauth from '@posthorn/plugin-mailauth'
import { fakeDns, harness } from '@posthorn/testing'
import * as z from 'zod'

export const everybody = definePlugin({
  name: 'everybody',
  schema: z.strictObject({}),
  setup: () => ({ rcpt: () => 'accept' as const }),
})

export type Zones = NonNullable<Parameters<typeof fakeDns>[0]>
export type Options = Readonly<Record<string, unknown>>

/** 192.0.2.1 is mail.sender.test, which may send for sender.test. */
export const host: Zones = {
  '192.0.2.1': { PTR: 'mail.sender.test' },
  'mail.sender.test': { A: '192.0.2.1', TXT: 'v=spf1 a -all' },
  'sender.test': { TXT: 'v=spf1 a:mail.sender.test -all' },
}

export async function start(zones: Zones, options: Options = {}) {
  const dns = fakeDns(zones)
  const plugins = [everybody, mailauth] as const
  const all = (own: Options) => [{}, { workers: 1, ...own } as never] as const
  const h = await harness(plugins, { options: all(options), services: [dns.service] })
  return Object.assign(h, {
    dns,
    /** Another zone and other options, with the same worker. */
    async with(zones: Zones, options: Options = {}) {
      dns.replace(zones)
      await h.reload(plugins, all(options))
      return h
    },
  })
}

export const given = { ip: '192.0.2.1', helo: 'mail.sender.test', from: 'anna@sender.test' }

export const letter = (fields: Readonly<Record<string, string>> = {}, body = 'Hello.\r\n') =>
  `${Object.entries({
    From: 'Anna <anna@sender.test>',
    To: 'bob@example.test',
    Subject: 'hello',
    Date: 'Sun, 4 Jan 2026 10:00:00 +0000',
    'Message-ID': '<1@sender.test>',
    ...fields,
  })
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')}\r\n${body}`
