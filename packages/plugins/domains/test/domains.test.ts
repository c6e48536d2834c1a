import domains from '@posthorn/plugin-domains'
import { conformance, harness } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'

for (const check of conformance(domains, { options: { domains: ['example.test'] } })) it(check.name, check.run)

const codeFor = async (options: object, to: string) => {
  await using h = await harness([domains], { options: [options as never] })
  const reply = await h.gate('rcpt', { to: [to] })
  return reply === undefined ? 'ok' : `${reply.code} ${reply.enhanced}`
}

describe('domains', () => {
  const list = { domains: { 'example.test': ['anna', 'Bob'], 'any.test': 'any' } }

  it('accepts the recipients that exist, in any case, and refuses the others of our domains', async () => {
    expect(await codeFor(list, 'anna@example.test')).toBe('ok')
    expect(await codeFor(list, 'ANNA@Example.TEST')).toBe('ok')
    expect(await codeFor(list, 'bob@example.test')).toBe('ok')
    expect(await codeFor(list, 'eve@example.test')).toBe('550 5.1.1')
    expect(await codeFor(list, 'whoever@any.test')).toBe('ok')
  })

  it('is silent on other domains, which are then refused', async () => {
    expect(await codeFor(list, 'anna@else.test')).toBe('550 5.7.1')
    expect(await codeFor(list, 'anna@sub.example.test')).toBe('550 5.7.1')
  })

  it('takes U-labels and A-labels for the same', async () => {
    expect(await codeFor({ domains: ['bücher.test'] }, 'anna@xn--bcher-kva.test')).toBe('ok')
    expect(await codeFor({ domains: ['bücher.test'] }, 'anna@BÜCHER.test')).toBe('ok')
  })

  it('accepts <Postmaster> and gives it to whoever reads it', async () => {
    await using h = await harness([domains], { options: [{ domains: ['example.test'] }] })
    expect((await h.resolve('Postmaster')).map(t => t.raw)).toEqual(['postmaster@example.test'])
    const options = { domains: { 'example.test': ['anna'] }, postmaster: 'anna@example.test' } as const
    await using to = await harness([domains], { options: [options as never] })
    expect((await to.resolve('Postmaster')).map(t => t.raw)).toEqual(['anna@example.test'])
    expect((await to.resolve('POSTMASTER@example.test')).map(t => t.raw)).toEqual(['anna@example.test'])
  })

  it('refuses what is no domain, by name', async () => {
    await expect(harness([domains], { options: [{ domains: ['no domain'] }] })).rejects.toThrow(/domain/)
  })
})
