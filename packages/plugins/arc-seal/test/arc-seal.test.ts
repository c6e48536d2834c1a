import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { definePlugin, type Mailbox, Place } from '@posthorn/core'
import arcSeal from '@posthorn/plugin-arc-seal'
import dkimSign from '@posthorn/plugin-dkim-sign'
import { addKeys, dkimRecord, ringFolder } from '@posthorn/plugin-dkim-sign/key-ring'
import domains from '@posthorn/plugin-domains'
import { type Arc, arc } from '@posthorn/plugin-mailauth/keys'
import { harness } from '@posthorn/testing'
import { arc as verifyArc } from 'mailauth/lib/arc/index.js'
import { dkimVerify } from 'mailauth/lib/dkim/verify.js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import * as z from 'zod'

let data: string
const zone = new Map<string, string>()
beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), 'posthorn-arc-'))
  for (const key of await addKeys(ringFolder(data), 'example.test', {
    algorithms: ['rsa'],
    now: Date.UTC(2026, 0, 5),
  })) {
    const { name, value } = dkimRecord('example.test', key)
    zone.set(name, value)
  }
})
afterAll(() => rm(data, { recursive: true }))

const schema = z.strictObject({})
const forwarding = definePlugin({
  name: 'forwarding',
  schema,
  setup: () => ({
    resolve: (_tx, { local }) =>
      local === 'fwd' ? { to: [{ local: 'x', domain: 'else.test', raw: 'x@else.test' } as Mailbox] } : undefined,
  }),
})

/** Stands for mailauth: says what the chain was, and writes the results field. */
const judging = (found: Arc) =>
  definePlugin({
    name: 'mailauth',
    schema,
    setup: () => ({
      data: { writes: [arc], handler: () => ({ end: message => message.state.set(arc, found) }) },
      seal: () => [['Authentication-Results', 'mx.test; spf=pass smtp.mailfrom=client.test']],
    }),
  })

const start = (found: Arc) =>
  harness([domains, forwarding, judging(found), dkimSign, arcSeal], {
    options: [{ domains: ['example.test'] }, {}, {}, {}, { domain: 'example.test' }],
    services: [[Place, { data }]],
  })

const resolver = async (name: string) => {
  const value = zone.get(name)
  if (value === undefined) throw Object.assign(new Error('none'), { code: 'ENOTFOUND' })
  return [[value]]
}

/** The chain by the library's own verifier. */
async function chainOf(message: Buffer): Promise<string> {
  const { arc: found } = (await dkimVerify(message, { resolver } as never)) as unknown as { arc: object }
  const result = (await verifyArc(found as never, { resolver } as never)) as {
    status: { result: string; comment?: string }
  }
  return `${result.status.result}${result.status.comment ? ` ${result.status.comment}` : ''}`
}

const eml = 'From: a@client.test\r\nSubject: hello\r\nTo: fwd@example.test\r\n\r\nbody\r\n'

describe('arc-seal', () => {
  it('seals the forwarded variant, and only that', async () => {
    await using h = await start({ result: 'none', instance: 0 })
    const result = await h.message(eml, { to: ['anna@example.test', 'fwd@example.test'] })
    const [own, forwarded] = [await result.bytes(0), await result.bytes(1)]
    expect(result.variants.map(v => v.targets.map(t => t.address.raw))).toEqual([
      ['anna@example.test'],
      ['x@else.test'],
    ])
    expect(own.toString()).not.toContain('ARC-')
    expect(forwarded.toString()).toMatch(/^ARC-Seal: i=1;\r\n\ta=rsa-sha256;\r\n\tcv=none;/)
    expect(forwarded.toString()).toContain('ARC-Authentication-Results: i=1; mx.test; spf=pass')
    expect(await chainOf(forwarded)).toMatch(/^pass/)
  })

  it('goes on with a chain that holds, and the longer one holds too', async () => {
    let message = Buffer.from(eml)
    for (let hop = 0; hop < 4; hop++) {
      await using h = await start({ result: hop === 0 ? 'none' : 'pass', instance: hop })
      const { bytes } = await h.message(message, { to: ['fwd@example.test'] })
      // Each hop is another server: its Delivered-To is not ours.
      message = Buffer.from((await bytes()).toString().replace(/Delivered-To: fwd@example\.test\r\n/, ''))
      expect(await chainOf(message)).toMatch(/^pass/)
    }
    expect(message.toString().match(/^ARC-Seal: i=\d/gm)).toEqual([
      'ARC-Seal: i=4',
      'ARC-Seal: i=3',
      'ARC-Seal: i=2',
      'ARC-Seal: i=1',
    ])
  })

  it('says of a chain that failed that it failed, and leaves one alone that ended', async () => {
    await using first = await start({ result: 'none', instance: 0 })
    const once = (await (await first.message(eml, { to: ['fwd@example.test'] })).bytes())
      .toString()
      .replace(/Delivered-To: .*\r\n/, '')
    await using second = await start({ result: 'fail', instance: 1 })
    const twice = (await (await second.message(once.replace('hello', 'changed'), { to: ['fwd@example.test'] })).bytes())
      .toString()
      .replace(/Delivered-To: .*\r\n/, '')
    expect(twice).toMatch(/^ARC-Seal: i=2;\r\n\ta=rsa-sha256;\r\n\tcv=fail;/)
    await using third = await start({ result: 'fail', instance: 2 })
    const { head } = await third.message(twice, { to: ['fwd@example.test'] })
    expect(head).not.toContain('ARC-')
  })

  it('seals nothing without a key, and of what nobody judged neither a chain nor a stranger’s results', async () => {
    await using keyless = await harness(
      [domains, forwarding, judging({ result: 'none', instance: 0 }), dkimSign, arcSeal],
      {
        options: [{ domains: ['example.test'] }, {}, {}, {}, { domain: 'no-keys.test' }],
        services: [[Place, { data }]],
      },
    )
    expect((await keyless.message(eml, { to: ['fwd@example.test'] })).head).not.toContain('ARC-')
    await using unjudged = await harness([domains, forwarding, dkimSign, arcSeal], {
      options: [{ domains: ['example.test'] }, {}, {}, { domain: 'example.test' }],
      services: [[Place, { data }]],
    })
    const forged = `Authentication-Results: mx.test; dmarc=pass header.from=bank.test\r\n${eml}`
    const { head } = await unjudged.message(forged, { to: ['fwd@example.test'] })
    expect(head).toContain('ARC-Authentication-Results: i=1; mx.test; none\r\n')
    const chained = `ARC-Seal: i=1; a=rsa-sha256; cv=none; d=x.test; s=s; b=AA==\r\n${eml}`
    expect((await unjudged.message(chained, { to: ['fwd@example.test'] })).head).not.toContain('ARC-')
  })

  // RFC 8617 §4.1.2.
  it('signs From and the DKIM signatures, and never results or ARC fields', async () => {
    await using h = await start({ result: 'none', instance: 0 })
    const eml2 = `DKIM-Signature: v=1; d=client.test; b=AA==\r\n${eml}`
    const { head } = await h.message(eml2, { to: ['fwd@example.test'] })
    const signed = /ARC-Message-Signature: [^:]*\sh=([^;]*);/.exec(head)?.[1]?.replace(/\s/g, '').split(':')
    expect(signed).toEqual(['from', 'from', 'subject', 'to', 'dkim-signature'])
    const options = (headers: readonly string[]) =>
      [{ domains: ['example.test'] }, {}, {}, {}, { domain: 'example.test', headers }] as never
    for (const [headers, message] of [
      [['from', 'ARC-Seal'], /are not signed/],
      [['from', 'authentication-results'], /are not signed/],
      [['to', 'subject'], /From has to be signed/],
    ] as const) {
      const plugins = [domains, forwarding, judging({ result: 'none', instance: 0 }), dkimSign, arcSeal] as const
      const wrong = harness(plugins, { options: options(headers), services: [[Place, { data }]] })
      await expect(wrong).rejects.toThrow(message)
    }
  })
})
