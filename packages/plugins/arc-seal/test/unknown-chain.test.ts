// A chain that nobody could look at is not sealed: cv=fail would say that it broke, and would be its end (RFC 8617
// §5.1.3), whereas the next server may see that it holds. All with mailauth itself, its worker ended while it waits.
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import { Dns, definePlugin, type Mailbox, Place } from '@posthorn/core'
import arcSeal from '@posthorn/plugin-arc-seal'
import dkimSign from '@posthorn/plugin-dkim-sign'
import { addKeys, ringFolder } from '@posthorn/plugin-dkim-sign/key-ring'
import domains from '@posthorn/plugin-domains'
import mailauth from '@posthorn/plugin-mailauth'
import { fakeDns, harness } from '@posthorn/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as z from 'zod'
import { seal, signer } from '../../mailauth/test/signed.ts'

const data = mkdtempSync(join(tmpdir(), 'posthorn-arc-unknown-'))
const workers: Worker[] = []
const started = (message: unknown) => void workers.push((message as { readonly worker: Worker }).worker)
beforeAll(async () => {
  subscribe('worker_threads', started)
  await addKeys(ringFolder(data), 'example.test', { algorithms: ['ed25519'], now: Date.UTC(2026, 0, 5) })
})
afterAll(async () => {
  unsubscribe('worker_threads', started)
  await rm(data, { recursive: true })
})

const forwarding = definePlugin({
  name: 'forwarding',
  schema: z.strictObject({}),
  setup: () => ({ resolve: () => ({ to: [{ local: 'x', domain: 'else.test', raw: 'x@else.test' } as Mailbox] }) }),
})

const list = signer('lists.test')
const plain = 'From: a@client.test\r\nSubject: hello\r\nTo: fwd@example.test\r\n\r\nbody\r\n'
const chained = await seal(Buffer.from(plain).toString(), list, 'lists.test; none')

/** What goes out of `eml`, by a server whose resolver does `asked` before it answers for the key. */
async function forwarded(eml: string, key: object, asked: () => Promise<unknown> = async () => {}) {
  const dns = fakeDns({ [list.name]: key })
  const own: Dns = {
    ...dns,
    async resolve(name, type, signal) {
      if (/_dmarc\.client\.test|_domainkey/.test(name)) await asked()
      return dns.resolve(name, type, signal)
    },
  }
  await using h = await harness([domains, forwarding, mailauth, dkimSign, arcSeal], {
    options: [{ domains: ['example.test'] }, {}, { workers: 1 }, {}, { domain: 'example.test' }],
    services: [
      [Place, { data }],
      [Dns, own],
    ],
  })
  const { head, replies, state } = await h.message(eml, { from: 'a@client.test', to: ['fwd@example.test'] })
  expect(replies[0]?.code).toBe(250)
  const results = /^Authentication-Results: .*(?:\r\n[ \t].*)*/m.exec(head)?.[0].replace(/\r\n\s+/g, ' ')
  return { head, results, state, seals: head.match(/^ARC-Seal: i=\d+;[\s\S]*?cv=\w+/gm)?.map(oneLine) ?? [] }
}
const oneLine = (text: string) => text.replace(/\s+/g, ' ')
const there = { TXT: list.record }
const kill = () => workers.at(-1)?.terminate() ?? Promise.resolve()

describe('a chain', () => {
  it('that holds, or does not, is sealed as what it is', async () => {
    expect((await forwarded(chained, there)).seals).toEqual([expect.stringMatching(/i=2;.*cv=pass/)])
    const broken = await forwarded(chained.replace('body', 'another body'), there)
    expect(broken.seals).toEqual([expect.stringMatching(/i=2;.*cv=fail/)])
    const revoked = await forwarded(chained, { TXT: 'v=DKIM1; p=' })
    expect(revoked.seals).toEqual([expect.stringMatching(/i=2;.*cv=fail/)])
  })

  it('whose worker dies is not sealed, and nothing is said of it', async () => {
    const { seals, results, state } = await forwarded(chained, there, kill)
    expect(seals).toEqual([])
    expect(results).toMatch(/dkim=temperror .*dmarc=temperror/)
    expect(results).not.toMatch(/ arc=/)
    expect(state).not.toHaveProperty('mailauth/arc')
  })

  it.each(['servfail', 'timeout'])('whose key is not to be had (%s) fails, and is not sealed', async fail => {
    const { seals, results } = await forwarded(chained, { fail })
    expect(seals).toEqual([])
    expect(results).toMatch(/; arc=fail \(i=1, lists\.test, a key could not be had\)/)
  })
})

it('where there is none, a first set is made whoever died: that there is none can be seen', async () => {
  const { seals, head } = await forwarded(plain, there, kill)
  expect(seals).toEqual([expect.stringMatching(/i=1;.*cv=none/)])
  expect(oneLine(head)).toMatch(/ARC-Authentication-Results: i=1; mx\.test; .*dmarc=temperror/)
})
