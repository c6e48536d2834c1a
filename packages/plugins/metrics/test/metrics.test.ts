import { Meter, MeterToken } from '@posthorn/core'
import metrics from '@posthorn/plugin-metrics'
import { harness } from '@posthorn/testing'
import { expect, it } from 'vitest'

/** Starts the plugin on a free port around a meter; `log` says which. */
async function start(meter: Meter, path = '/metrics') {
  const h = await harness([metrics], { options: [{ port: 0, path }], services: [[MeterToken, meter]] })
  const [line] = h.log.filter(({ message }) => message === 'metrics')
  if (line === undefined) throw new Error('the plugin did not say where it listens')
  const { address } = line.fields as { address: string }
  return { h, url: address }
}

const scrape = async (url: string) => (await fetch(url)).text()

it('exposes core’s counts as Prometheus reads them, and the process’s own', async () => {
  const meter = new Meter()
  const { h, url } = await start(meter)
  await using _ = h
  const count = meter.counter('posthorn_test_total', 'A count', ['verdict'])
  const observe = meter.histogram('posthorn_test_seconds', 'A time', ['stage'], [0.1, 1])
  meter.gauge('posthorn_test_depth', 'A depth', [], () => [{ labels: [], value: 7 }])
  count(['reject'])
  count(['reject'], 2)
  for (const seconds of [0.05, 0.5, 5]) observe(['mail'], seconds)
  const text = await scrape(url)
  for (const line of [
    '# TYPE posthorn_test_total counter',
    'posthorn_test_total{verdict="reject"} 3',
    'posthorn_test_depth 7',
    'posthorn_test_seconds_bucket{le="0.1",stage="mail"} 1',
    'posthorn_test_seconds_bucket{le="1",stage="mail"} 2',
    'posthorn_test_seconds_bucket{le="+Inf",stage="mail"} 3',
    'posthorn_test_seconds_sum{stage="mail"} 5.55',
    'posthorn_test_seconds_count{stage="mail"} 3',
  ]) {
    expect(text).toContain(line)
  }
  expect(text).toMatch(/^process_cpu_seconds_total /m)
})

it('escapes what hostile input could put into a label', async () => {
  const meter = new Meter()
  const { h, url } = await start(meter)
  await using _ = h
  meter.counter('posthorn_test_total', 'A count', ['helo'])(['a"\n} 1\nforged 2'])
  expect(await scrape(url)).not.toMatch(/^forged/m)
})

it('bounds the series that input can make', () => {
  const meter = new Meter()
  const count = meter.counter('posthorn_test_total', 'A count', ['helo'])
  for (let i = 0; i < 5_000; i++) count([`client-${i}`])
  const [family] = meter.families
  const samples = [...(family?.samples() ?? [])]
  expect(samples).toHaveLength(1_001)
  expect(samples.at(-1)).toEqual({ labels: ['other'], value: 4_000 })
})

it('answers on loopback only, at its path, and survives a reload', async () => {
  const { h, url } = await start(new Meter(), '/m')
  await using _ = h
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/m$/)
  expect((await fetch(url.replace('/m', '/health'))).status).toBe(200)
  await h.reload([metrics], [{ port: 0, path: '/m' }])
  expect((await fetch(url)).status).toBe(200)
})

it('tells which port is taken', async () => {
  const { h, url } = await start(new Meter())
  await using _ = h
  const port = Number(new URL(url).port)
  await expect(harness([metrics], { options: [{ port }], services: [[MeterToken, new Meter()]] })).rejects.toThrow(
    /EADDRINUSE/,
  )
})
