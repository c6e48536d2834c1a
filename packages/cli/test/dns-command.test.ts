import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { dnsServer } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import { guideFacts } from './dns-guide.ts'
import { answering, posthorn, temporary } from './terminal.ts'

describe('posthorn dns', () => {
  function configured(dns: object): string {
    const folder = temporary()
    const config = {
      hostname: 'mail.example.org',
      data: 'data',
      listeners: { mx: { listen: '192.0.2.25:25' } },
      dns: { timeout: 1_000, attempts: 1, ...dns },
      plugins: ['storage-level', { domains: { domains: ['example.org', 'bücher.example'] } }, 'dkim-sign'],
    }
    writeFileSync(join(folder, 'posthorn.config.json'), JSON.stringify(config))
    mkdirSync(join(folder, 'data'))
    return folder
  }

  it('works from the configuration alone, keys included', async () => {
    const folder = configured({})
    await posthorn(folder, 'dkim generate example.org --algorithm ed25519 --selector one')
    const { code, out, err } = await posthorn(folder, 'dns')
    expect(code).toBe(0)
    expect(out[0]).toBe('; Records for mail, by posthorn dns, for mail.example.org at 192.0.2.25')
    expect(out.join('\n')).toMatch(/^one\._domainkey\.example\.org\. 3600 IN TXT "v=DKIM1; k=ed25519; p=.{43}="$/m)
    expect(out).toContain('xn--bcher-kva.example. 3600 IN MX 10 mail.example.org.')
    expect(err).toEqual([
      'note: nothing signs mail from xn--bcher-kva.example: list dkim-sign, then run `posthorn dkim generate xn--bcher-kva.example`',
    ])
  })

  it('checks against the resolvers of the configuration: 0 where all is well, 1 where not', async () => {
    await using server = await dnsServer({
      'mail.example.org': { A: '192.0.2.25', TXT: 'v=spf1 a -all' },
      '192.0.2.25': { PTR: 'mail.example.org' },
      'example.org': { MX: '10 mail.example.org', TXT: 'v=spf1 a:mail.example.org -all' },
      '_dmarc.example.org': { TXT: 'v=DMARC1; p=reject' },
    })
    const folder = configured({ servers: server.address })
    const good = await posthorn(folder, 'dns example.org --check')
    expect(good.code).toBe(0)
    expect(good.out.at(-1)).toBe('No differences.')
    const bad = await posthorn(folder, 'dns --check')
    expect(bad.code).toBe(1)
    expect(bad.out).toContain('MISSING   MX    xn--bcher-kva.example')
    expect(bad.out).toContain('          → xn--bcher-kva.example. 3600 IN MX 10 mail.example.org.')
    expect(bad.out.at(-1)).toBe('3 differences.')
    const json = JSON.parse((await posthorn(folder, 'dns example.org --check --json')).out[0] as string)
    expect(json).toMatchObject({ hostname: 'mail.example.org', differences: 0, unknown: 0, silent: [] })
    expect(json.records[0]).toMatchObject({ type: 'A', verdict: 'ok', found: ['192.0.2.25'] })
  })

  it('says try later where nobody answers', async () => {
    const { address, ...server } = await dnsServer()
    await server[Symbol.asyncDispose]()
    const { code, out } = await posthorn(configured({ servers: address }), 'dns example.org --check')
    expect(code).toBe(75)
    expect(out.at(-1)).toMatch(/^No differences, \d+ without an answer\.$/)
  })

  it('asks a running server, its resolver too', async () => {
    const folder = temporary()
    const asked: unknown[] = []
    await answering(folder, {
      dns: async params => {
        asked.push(params)
        return { ...guideFacts, silent: [{ from: 'dkim-sign', reason: 'the disk\u001b[31m' }] }
      },
      'dns.resolve': async params => {
        asked.push((params as { name: string }).name)
        return { status: 'nodata', records: [], name: '', secure: false, ttl: 1 }
      },
    })
    const { code, out, err } = await posthorn(folder, 'dns example.org --check --address 198.51.100.4')
    expect(code).toBe(1)
    expect(asked[0]).toEqual({ domains: ['example.org'] })
    expect(asked).toContain('_dmarc.example.org')
    expect(out).toContain('          → mail.example.org. 3600 IN A 198.51.100.4')
    expect(err).toEqual(['note: dkim-sign could not say what it wants published: the disk\\x1b[31m'])
  })

  it.each([
    ['dns not!a!name', 64],
    ['dns [192.0.2.1]', 64],
    ['dns example.org --address mail', 64],
    ['dns --socket /nowhere', 69],
    ['dns', 78],
  ])('`posthorn %s` ends with %d', async (args, code) => {
    expect((await posthorn(temporary(), args)).code).toBe(code)
  })
})
