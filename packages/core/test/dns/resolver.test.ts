import { connect } from 'node:net'
import { type DnsAct, type DnsServer, dnsServer } from '@posthorn/testing'
import { describe, expect, test } from 'vitest'
import { dnsConfig, ending, resolverFor, until, zones } from './resolver-rig.ts'

describe('answers', () => {
  test('of every type, as the contract says', async () => {
    await using server = await dnsServer(zones)
    using rig = await resolverFor([server])
    const records = async (name: string, type: Parameters<typeof rig.resolver.resolve>[1]) =>
      (await rig.resolver.resolve(name, type)).records
    expect(await records('Example.TEST.', 'MX')).toEqual([
      { preference: 10, exchange: 'mx1.example.test' },
      { preference: 20, exchange: 'mx2.example.test' },
    ])
    expect(await records('null.test', 'MX')).toEqual([{ preference: 0, exchange: '' }])
    expect(await records('example.test', 'TXT')).toEqual(['v=spf1 mx -all', 'grüße'])
    expect(await records('example.test', 'NS')).toEqual(['ns.example.test'])
    expect(await records('example.test', 'SOA')).toEqual([
      { mname: 'ns.example.test', rname: 'hostmaster.example.test', serial: 7, minimum: 60 },
    ])
    expect(await records('example.test', 'CAA')).toEqual([
      { critical: false, tag: 'issue', value: 'ca.test' },
      { critical: true, tag: 'iodef', value: 'mailto:a@example.test' },
    ])
    expect(await records('mx1.example.test', 'A')).toEqual(['192.0.2.1', '192.0.2.2'])
    expect(await records('mx1.example.test', 'AAAA')).toEqual(['2001:db8::1'])
    expect(await records('_25._tcp.mx1.example.test', 'TLSA')).toEqual([
      { usage: 3, selector: 1, matching: 1, data: new Uint8Array([0, 255, 16]) },
    ])
    expect(await records('_imaps._tcp.example.test', 'SRV')).toEqual([
      { priority: 0, weight: 1, port: 993, target: 'mx1.example.test' },
    ])
    expect(await records('Bücher.example', 'A')).toEqual(['192.0.2.80'])
    expect((await rig.resolver.reverse('192.0.2.1')).records).toEqual(['mx1.example.test'])
    expect(await rig.resolver.confirmedNames('2001:DB8::0:1')).toEqual(['mx1.example.test'])
    expect(await rig.resolver.confirmedNames('192.0.2.1')).toEqual(['mx1.example.test'])
  })

  test('octets of TXT that are no UTF-8 come as Latin-1, strings joined without a space', async () => {
    const parts = [Buffer.from('v=DKIM1; p='), Buffer.from([0xff, 0xe9])]
    await using server = await dnsServer(
      { 'x.test': { TXT: 'x' } },
      { act: () => ({ change: reply => void Object.assign(reply.answers?.[0] ?? {}, { data: parts }) }) },
    )
    using rig = await resolverFor([server])
    expect((await rig.resolver.resolve('x.test', 'TXT')).records).toEqual(['v=DKIM1; p=ÿé'])
  })

  test('follow CNAMEs: the name at the end, the shortest TTL on the way', async () => {
    await using server = await dnsServer(zones)
    using rig = await resolverFor([server])
    expect(await rig.resolver.resolve('A.alias.test', 'A')).toEqual({
      status: 'ok',
      records: ['192.0.2.1', '192.0.2.2'],
      name: 'mx1.example.test',
      secure: false,
      ttl: 30,
    })
    expect(await rig.resolver.resolve('a.alias.test', 'TXT')).toMatchObject({
      status: 'nodata',
      name: 'mx1.example.test',
    })
    expect(await rig.resolver.resolve('to-nowhere.test', 'A')).toMatchObject({ status: 'nxdomain' })
    expect(await rig.resolver.resolve('a.alias.test', 'CNAME')).toMatchObject({ records: ['b.alias.test'] })
  })

  test('a loop of CNAMEs, or a chain of nine, is malformed', async () => {
    const chain =
      (n: number, loop: boolean): NonNullable<DnsAct['change']> =>
      reply => {
        const alias = (i: number) => (i === 0 ? 'c.test' : `c${i}.test`)
        reply.answers = [{ type: 'A', name: alias(n), ttl: 60, data: '192.0.2.1' }]
        for (let i = 0; i < n; i++) {
          const data = loop && i === n - 1 ? alias(0) : alias(i + 1)
          reply.answers.push({ type: 'CNAME', name: alias(i), ttl: 60, data })
        }
      }
    let change = chain(8, false)
    await using server = await dnsServer({ 'c.test': { A: '192.0.2.9' } }, { act: () => ({ change }) })
    using rig = await resolverFor([server])
    expect((await rig.resolver.resolve('c.test', 'A')).name).toBe('c8.test')
    for (const next of [chain(9, false), chain(1, true), chain(5, true)]) {
      change = next
      using fresh = await resolverFor([server])
      await expect(fresh.resolver.resolve('c.test', 'A')).rejects.toMatchObject({ kind: 'malformed' })
    }
  })

  test('records of other names and classes are left alone', async () => {
    await using server = await dnsServer(
      { 'a.test': { A: '192.0.2.1' } },
      {
        act: () => ({
          change(reply) {
            reply.answers?.push(
              { type: 'A', name: 'b.test', ttl: 60, data: '198.51.100.1' },
              { type: 'A', name: 'a.test', ttl: 60, class: 'CH', data: '198.51.100.2' },
            )
          },
        }),
      },
    )
    using rig = await resolverFor([server])
    expect((await rig.resolver.resolve('a.test', 'A')).records).toEqual(['192.0.2.1'])
  })

  test.each(['evil name.test', 'a"b.test', 'x\r\ny.test', 'nul\0.test', 'a,b.test', '(c).test', 'ü.test'])(
    'a PTR to %j is none: it would end up in headers and logs',
    async data => {
      await using server = await dnsServer(
        { '192.0.2.1': { PTR: 'x.test' } },
        { act: () => ({ change: reply => void Object.assign(reply.answers?.[0] ?? {}, { data }) }) },
      )
      using rig = await resolverFor([server])
      expect((await rig.resolver.reverse('192.0.2.1')).records).toEqual([])
    },
  )

  test('names that cannot exist are not asked for', async () => {
    await using server = await dnsServer()
    using rig = await resolverFor([server])
    const long = `${'a'.repeat(63)}.`.repeat(4)
    for (const name of [
      '',
      '.',
      'a..b',
      '.a',
      'x'.repeat(64),
      long,
      'a\0b.test',
      'a\nb.test',
      'a\x7f.test',
      '\ud800.x',
    ]) {
      expect(await rig.resolver.resolve(name, 'A'), JSON.stringify(name)).toMatchObject({
        status: 'nxdomain',
        name: '',
      })
    }
    expect(server.queries).toEqual([])
    await rig.resolver.resolve(long.slice(0, -3), 'A')
    await rig.resolver.resolve('0/25.2.0.192.in-addr.arpa', 'A')
    await rig.resolver.resolve('_dmarc.例え.test', 'TXT')
    expect(server.queries.map(({ name }) => name)).toEqual([
      long.slice(0, -3),
      '0/25.2.0.192.in-addr.arpa',
      '_dmarc.xn--r8jz45g.test',
    ])
  })
})

describe('the wire', () => {
  test('a fresh port and id for each question, EDNS of 1232, AD asked for', async () => {
    await using server = await dnsServer()
    using rig = await resolverFor([server])
    await Promise.all(Array.from({ length: 50 }, (_, i) => rig.resolver.resolve(`n${i}.test`, 'A')))
    const { queries } = server
    expect(new Set(queries.map(q => q.port)).size).toBeGreaterThan(45)
    expect(new Set(queries.map(q => q.id)).size).toBeGreaterThan(45)
    expect(queries.every(q => q.ad && q.size === 1_232 && q.transport === 'udp')).toBe(true)
  })

  test('what is not the answer is ignored, and the right one after it taken', async () => {
    const before = [
      'wrong-id',
      'wrong-name',
      'wrong-type',
      'a-query',
      'garbage',
      Buffer.alloc(0),
      Buffer.alloc(11),
    ] as const
    await using server = await dnsServer(zones, { act: () => ({ before }) })
    using rig = await resolverFor([server])
    expect((await rig.resolver.resolve('mx1.example.test', 'A')).records).toHaveLength(2)
    expect(server.queries).toHaveLength(1)
  })

  test('with nothing but garbage the time runs out', async () => {
    await using server = await dnsServer(zones, { act: () => ({ before: ['garbage', 'wrong-id'], drop: true }) })
    await using garbage = await dnsServer(zones, { act: () => ({ raw: () => Buffer.alloc(100, 0xc0) }) })
    using rig = await resolverFor([server, garbage], { attempts: 1 })
    const asked = ending(rig.resolver.resolve('mx1.example.test', 'A'))
    await until(() => server.queries.length === 1)
    await rig.clock.advance(5_000)
    await until(() => garbage.queries.length === 1)
    await rig.clock.advance(5_000)
    expect(await asked).toBe('timeout')
  })

  test('a truncated answer is fetched by TCP, up to 64 KiB', async () => {
    const many = Array.from({ length: 2_300 }, (_, i) => `10.0.${i >> 8}.${i & 255}`)
    await using server = await dnsServer({ 'many.test': { A: many.slice(0, 2_200) } })
    using rig = await resolverFor([server])
    expect((await rig.resolver.resolve('many.test', 'A')).records).toHaveLength(2_200)
    expect(server.queries.map(q => q.transport)).toEqual(['udp', 'tcp'])
  })

  test('truncated by TCP too, cut off there, or garbage there: a failure of that server', async () => {
    for (const [act, expected] of [
      [{ change: reply => void Object.assign(reply, { flags: (reply.flags ?? 0) | 0x200 }) }, 'malformed'],
      [{ raw: () => Buffer.alloc(50, 1) }, 'malformed'],
      [{ drop: true }, 'timeout'],
    ] as const satisfies readonly (readonly [DnsAct, string])[]) {
      await using server = await dnsServer(zones, { act: q => (q.transport === 'udp' ? { truncate: true } : act) })
      using rig = await resolverFor([server], { attempts: 1 })
      expect(await ending(rig.resolver.resolve('mx1.example.test', 'A'))).toBe(expected)
    }
  })

  test('a server that does not know EDNS is asked without', async () => {
    await using server = await dnsServer(zones, { act: q => (q.size === undefined ? undefined : { rcode: 1 }) })
    using rig = await resolverFor([server])
    expect(await ending(rig.resolver.resolve('mx1.example.test', 'A'))).toBe('ok')
    expect(server.queries.map(q => q.size)).toEqual([1_232, undefined])
    await using mute = await dnsServer(zones, { act: () => ({ rcode: 1 }) })
    using other = await resolverFor([mute])
    expect(await ending(other.resolver.resolve('mx1.example.test', 'A'))).toBe('servfail')
  })

  test('IPv6 servers too', async () => {
    await using server = await dnsServer(zones, { host: '::1' })
    using rig = await resolverFor([server])
    expect(await ending(rig.resolver.resolve('mx1.example.test', 'A'))).toBe('ok')
  })
})

describe('secure', () => {
  const act = () => ({})
  test('is the AD bit of a resolver on this machine', async () => {
    await using server = await dnsServer(zones, { act })
    using rig = await resolverFor([server])
    expect((await rig.resolver.resolve('_25._tcp.mx1.example.test', 'TLSA')).secure).toBe(true)
    expect((await rig.resolver.resolve('mx1.example.test', 'A')).secure).toBe(false)
  })

  test('is false from any other, but the ones that the configuration trusts', async () => {
    await using server = await dnsServer(zones, { secure: true })
    using rig = await resolverFor([server])
    // What the resolver judges by is the address: this one stands for a server elsewhere.
    const upstreams = (trusted: string[]) => dnsConfig({ servers: '203.0.113.5', trusted })
    const { Upstreams } = await import('../../src/dns/servers.ts')
    const { silentLog } = await import('../../src/log.ts')
    const trusts = async (...trusted: string[]) => new Upstreams(await upstreams(trusted), silentLog).all[0]?.trusted
    expect(await trusts()).toBe(false)
    expect(await trusts('203.0.113.0/24')).toBe(true)
    expect(await trusts('203.0.113.6')).toBe(false)
    expect((await rig.resolver.resolve('mx1.example.test', 'A')).secure).toBe(true)
  })
})

describe('servers that fail', () => {
  /** A port of loopback where nobody listens. */
  async function deadPort(): Promise<string> {
    const { address, ...server } = await dnsServer()
    await server[Symbol.asyncDispose]()
    return address
  }

  test('the next one is asked, and the silent one last from then on', async () => {
    await using silent = await dnsServer({}, { act: () => ({ drop: true }) })
    await using good = await dnsServer(zones)
    using rig = await resolverFor([silent, good])
    const first = ending(rig.resolver.resolve('mx1.example.test', 'A'))
    await until(() => silent.queries.length === 1)
    await rig.clock.advance(5_000)
    expect(await first).toBe('ok')
    await rig.resolver.resolve('example.test', 'MX')
    expect(silent.queries).toHaveLength(1)
    // After its rest it has another chance.
    await rig.clock.advance(1_000)
    const again = ending(rig.resolver.resolve('null.test', 'MX'))
    await until(() => silent.queries.length === 2)
    await rig.clock.advance(5_000)
    expect(await again).toBe('ok')
    expect(rig.lines).toEqual([])
  })

  test('one that nobody runs is known at once', async () => {
    await using good = await dnsServer(zones)
    using rig = await resolverFor([await deadPort(), good])
    expect(await ending(rig.resolver.resolve('mx1.example.test', 'A'))).toBe('ok')
  })

  test('all silent: every one in each round, then a timeout that names them', async () => {
    await using one = await dnsServer({}, { act: () => ({ drop: true }) })
    await using two = await dnsServer({}, { act: () => ({ drop: true }) })
    using rig = await resolverFor([one, two], { attempts: 2 })
    const asked = rig.resolver.resolve('a.test', 'MX').catch(error => error)
    for (let step = 1; step <= 4; step++) {
      await until(() => one.queries.length + two.queries.length === step)
      await rig.clock.advance(5_000)
    }
    const error = await asked
    expect(error.kind).toBe('timeout')
    expect(error.message).toBe(`MX a.test: ${one.address} did not answer, ${two.address} did not answer`)
    expect([one.queries.length, two.queries.length]).toEqual([2, 2])
  })

  test('it is said in the log when it lasts, once, and when it is over', async () => {
    let drop = true
    await using server = await dnsServer(zones, { act: () => ({ drop }) })
    using rig = await resolverFor([server], { attempts: 1 })
    for (let i = 0; i < 5; i++) {
      const asked = ending(rig.resolver.resolve(`n${i}.test`, 'A'))
      await until(() => server.queries.length === i + 1)
      await rig.clock.advance(60_000)
      expect(await asked).toBe('timeout')
    }
    drop = false
    await rig.resolver.resolve('mx1.example.test', 'A')
    expect(rig.lines).toEqual([
      'warn the resolver did not answer: it is asked last now',
      'info the resolver answers again',
    ])
  })

  test.each([
    [2, 'servfail', 'failed (SERVFAIL)'],
    [5, 'refused', 'refused'],
    [9, 'servfail', 'failed (code 9)'],
  ])('code %i is %s when all say so, and each is asked once', async (rcode, kind, text) => {
    await using one = await dnsServer({}, { act: () => ({ rcode }) })
    await using two = await dnsServer({}, { act: () => ({ rcode }) })
    using rig = await resolverFor([one, two])
    const error = await rig.resolver.resolve('a.test', 'A').catch(error => error)
    expect(error.kind).toBe(kind)
    expect(error.message).toBe(`A a.test: ${one.address} ${text}, ${two.address} ${text}`)
    expect([one.queries.length, two.queries.length]).toEqual([1, 1])
  })

  test('where one fails and the other answers, it is an answer', async () => {
    await using bad = await dnsServer({}, { act: () => ({ rcode: 2 }) })
    await using good = await dnsServer(zones)
    using rig = await resolverFor([bad, good])
    expect(await ending(rig.resolver.resolve('mx1.example.test', 'A'))).toBe('ok')
  })

  test('a server that does not recurse refused', async () => {
    const change: DnsAct['change'] = reply => {
      reply.flags = (reply.flags ?? 0) & ~0x80
      reply.authorities = [{ type: 'NS', name: 'test', ttl: 60, data: 'ns.test' }]
    }
    await using server = await dnsServer({ 'a.test': { A: '192.0.2.1' } }, { act: () => ({ change }) })
    using rig = await resolverFor([server])
    await expect(rig.resolver.resolve('a.test', 'MX')).rejects.toMatchObject({
      kind: 'refused',
      message: `MX a.test: ${server.address} does not recurse`,
    })
  })

  test('no server at all', async () => {
    using rig = await resolverFor([], { servers: [] })
    await expect(rig.resolver.resolve('a.test', 'A')).rejects.toThrow('there is no resolver to ask')
  })

  test('TCP refused after a truncated answer: the next server', async () => {
    const closing = await dnsServer(zones, { act: q => (q.transport === 'udp' ? { truncate: true } : { drop: true }) })
    await using good = await dnsServer(zones)
    using rig = await resolverFor([closing, good])
    expect(await ending(rig.resolver.resolve('mx1.example.test', 'A'))).toBe('ok')
    await closing[Symbol.asyncDispose]()
  })
})

test('the test server itself speaks TCP in pieces', async () => {
  await using server: DnsServer = await dnsServer(zones)
  const socket = connect(server.port, server.host)
  const query = Buffer.from('001d0001010000010000000000000478787878047465737400000100010000', 'hex').subarray(0, 31)
  for (const octet of query) socket.write(Buffer.from([octet]))
  const [answer] = (await new Promise<Buffer[]>(resolve => socket.once('data', data => resolve([data])))) as [Buffer]
  expect(answer.readUInt16BE(2)).toBe(1)
  socket.destroy()
})
