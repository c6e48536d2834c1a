// A small internet on loopback: hosts of their own address on one port, a DNS that names them, and `outbound` before it.
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { definePlugin, type Outcome } from '@posthorn/core'
import outbound from '@posthorn/plugin-outbound'
import {
  type FakeDns,
  fakeDns,
  type Given,
  type Harness,
  harness,
  type PeerOptions,
  SmtpPeer,
  type Zones,
} from '@posthorn/testing'
import * as z from 'zod'

export type Options = z.input<typeof outbound.schema>
export const eml = 'Subject: hello\r\n\r\nHello.\r\n'

/** Somebody else's decision: everybody may send everywhere. */
export const anybody = definePlugin({
  name: 'anybody',
  schema: z.strictObject({}),
  setup: () => ({ rcpt: () => 'accept' }),
})

export interface Net extends AsyncDisposable {
  readonly peers: readonly SmtpPeer[]
  readonly port: number
  readonly dns: FakeDns
  readonly h: Harness
  /** What becomes of a message to anna@example.test. */
  send(given?: Given, text?: string): Promise<Outcome>
}

/** Peers on 127.0.0.1, 127.0.0.2 …: each of their options. `options`: further ones of the plugin. */
export async function net(zones: Zones, peers: readonly PeerOptions[] = [{}], options: Options = {}): Promise<Net> {
  const started: SmtpPeer[] = []
  for (const [i, own] of peers.entries()) {
    const port = started[0]?.port
    started.push(await SmtpPeer.start({ host: `127.0.0.${i + 1}`, ...(port === undefined ? {} : { port }), ...own }))
  }
  const port = started[0]?.port ?? 1
  const dns = fakeDns(zones)
  const h = await harness([anybody, outbound], {
    options: [{}, { port, allow: ['127.0.0.0/8', '::1'], ...options }],
    services: [dns.service],
  })
  return {
    peers: started,
    port,
    dns,
    h,
    async send(given = {}, text = eml) {
      const [said] = (await h.deliver(text, given)).values()
      if (said === undefined || said === 'unrouted') throw new Error('outbound takes all')
      return said
    },
    async [Symbol.asyncDispose]() {
      await h[Symbol.asyncDispose]()
      for (const peer of started) await peer.close()
    },
  }
}

/** Counts of messages, by peer. */
export const counts = ({ peers }: Net) => peers.map(peer => peer.count)

const folder = mkdtempSync(join(tmpdir(), 'outbound-'))
export function file(name: string, content: string): string {
  writeFileSync(join(folder, name), content, { mode: 0o600 })
  return join(folder, name)
}
