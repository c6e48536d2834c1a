// The resolver as a running server's plugins have it, through reloads; and what plugins want published.
import type { DnsFacts, DnsFound } from '@posthorn/core/runtime'
import { dnsServer } from '@posthorn/testing'
import { expect, test } from 'vitest'
import { greeted, Rig, until } from './rig.ts'

/** Says who the client is by its address; wants a record published. */
const asking = {
  'asking.mjs': `
export default {
  name: 'asking',
  schema: { '~standard': { version: 1, vendor: 'test', validate: value => ({ value }) } },
  inject: { dns: { name: 'core/dns', remote: [] }, advice: { name: 'core/dns-advice', remote: [] } },
  setup({ services, name, onDispose }, { value = 'one' }) {
    onDispose(services.advice.add({
      from: name,
      async records(domain) {
        if (domain === 'broken.test') throw new Error('no idea')
        return [{ name: '_x.' + domain, type: 'TXT', value, why: 'A test.' }]
      },
    }))
    return {
      async mail(tx, from, { signal }) {
        const names = await services.dns.confirmedNames('127.0.0.1', signal)
        return { kind: 'reject', code: 550, enhanced: '5.7.1', text: 'You are ' + (names.join(' ') || 'nobody') }
      },
    }
  },
}`,
}
const named = (name: string) => ({ '127.0.0.1': { PTR: name }, [name]: { A: '127.0.0.1' } })

test('plugins ask the resolvers of the configuration, after a reload the new ones', async () => {
  await using one = await dnsServer(named('client.test'))
  await using two = await dnsServer(named('other.test'))
  const plugins = ['storage-level', './asking.mjs']
  await using rig = await Rig.start({ plugins, dns: { servers: one.address } }, { files: asking })
  await using client = await greeted(rig)
  await client.speak(`
    C: MAIL FROM:<a@client.test>
    S: 550 5.7.1 You are client.test
    C: MAIL FROM:<a@client.test>
    S: 550 5.7.1 You are client.test
  `)
  expect(one.queries.map(({ type, name }) => `${type} ${name}`)).toEqual([
    'PTR 1.0.0.127.in-addr.arpa',
    'A client.test',
  ])
  await rig.reload({ dns: { servers: [two.address] } })
  await client.speak(`
    C: MAIL FROM:<a@client.test>
    S: 550 5.7.1 You are other.test
  `)
  const control = await rig.control()
  expect(await control.call<DnsFound>('dns.resolve', { name: 'Other.test', type: 'A' })).toMatchObject({
    status: 'ok',
    records: ['127.0.0.1'],
    name: 'other.test',
  })
  await expect(control.call('dns.resolve', { name: 'a.test', type: 'ANY' })).rejects.toThrow('bad parameters')
})

test('a resolver that is silent is a temporary failure, and does not hold up the end', async () => {
  await using silent = await dnsServer({}, { act: () => ({ drop: true }) })
  await using other = await dnsServer({}, { act: () => ({ drop: true }) })
  const dns = { servers: silent.address, timeout: 20, attempts: 1 }
  await using rig = await Rig.start({ plugins: ['storage-level', './asking.mjs'], dns }, { files: asking })
  await using client = await greeted(rig)
  await client.speak(`
    C: MAIL FROM:<a@client.test>
    S: 451 4.3.0 *
  `)
  await rig.reload({ dns: { servers: other.address, timeout: '60s' } })
  client.send('MAIL FROM:<a@client.test>\r\n')
  await until('it was asked', () => other.queries.length > 0)
  const began = performance.now()
  await rig.stop()
  expect(performance.now() - began).toBeLessThan(5_000)
})

test('what plugins want published is told, also after they changed their mind or went', async () => {
  const plugins = ['storage-level', { domains: { domains: ['example.test', 'broken.test'] } }]
  const mind = (value: string) => ({ plugins: [...plugins, { './asking.mjs': { value } }] })
  await using rig = await Rig.start(mind('one'), { files: asking })
  const control = await rig.control()
  const facts = () => control.call<DnsFacts>('dns', {})
  const first = await facts()
  expect(first).toMatchObject({
    hostname: 'mx.example.test',
    domains: ['example.test', 'broken.test'],
    listeners: [{ role: 'mx', tls: 'none', host: '127.0.0.1' }],
    silent: [{ from: 'asking', reason: 'no idea' }],
  })
  expect(first.records['example.test']).toEqual([
    { name: '_x.example.test', type: 'TXT', value: 'one', why: 'A test.' },
  ])
  // A session holds the old configuration, and its plugins with it.
  await using client = await greeted(rig)
  await rig.reload(mind('two'))
  expect((await facts()).records['example.test']?.map(({ value }) => value)).toEqual(['two'])
  await rig.reload({ plugins })
  expect((await facts()).records).toEqual({ 'example.test': [], 'broken.test': [] })
  expect((await control.call<DnsFacts>('dns', { domains: ['new.test'] })).records['new.test']).toEqual([])
  await client.speak('C: NOOP\nS: 250 *')
})
