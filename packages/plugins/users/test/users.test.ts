import { type Credentials, hashPassword } from '@posthorn/core'
import users from '@posthorn/plugin-users'
import { conformance, harness } from '@posthorn/testing'
import { beforeAll, describe, expect, it } from 'vitest'

let hash: string
beforeAll(async () => {
  hash = await hashPassword('correct horse')
})

for (const check of conformance(users, { options: { users: {} } })) it(check.name, check.run)

const password = (username: string, secret: string, authzid?: string): Credentials => ({
  kind: 'password',
  mechanism: 'PLAIN',
  username,
  ...(authzid === undefined ? {} : { authzid }),
  reveal: () => secret,
})

describe('users', () => {
  const start = (options: object = {}) =>
    harness([users], {
      options: [{ users: { 'Anna@example.test': { password: hash, addresses: ['sales@example.test'] } }, ...options }],
    })

  it('lets in who knows the password, and nobody else', async () => {
    await using h = await start()
    expect(await h.auth(password('anna@example.test', 'correct horse'))).toEqual({ user: 'anna@example.test' })
    const refused = { code: 535, enhanced: '5.7.8' }
    expect(await h.auth(password('anna@example.test', 'correct hors'))).toMatchObject(refused)
    expect(await h.auth(password('eve@example.test', 'correct horse'))).toMatchObject(refused)
    expect(await h.auth(password('anna@example.test', 'correct horse', 'eve@example.test'))).toMatchObject(refused)
    expect(await h.auth(password('anna@example.test', 'a\0b'))).toMatchObject(refused)
  })

  it('never puts a password into the log', async () => {
    await using h = await start()
    await h.auth(password('anna@example.test', 'wrong-secret'))
    expect(JSON.stringify(h.log)).not.toContain('wrong-secret')
    expect(JSON.stringify(h.log)).toContain('anna@example.test')
  })

  it('may relay anywhere, but only as themselves', async () => {
    await using h = await start()
    const to = ['x@else.test']
    const user = 'anna@example.test'
    expect(await h.gate('rcpt', { user, from: 'anna@example.test', to })).toBeUndefined()
    expect(await h.gate('rcpt', { user, from: 'SALES@example.test', to })).toBeUndefined()
    expect(await h.gate('rcpt', { user, from: '', to })).toBeUndefined()
    expect(await h.gate('mail', { user, from: 'eve@example.test' })).toMatchObject({ code: 553, enhanced: '5.7.1' })
    expect(await h.gate('rcpt', { from: 'anna@example.test', to })).toMatchObject({ code: 550, enhanced: '5.7.1' })
  })

  it('may use any reverse-path where the operator says so', async () => {
    await using h = await start({ sendAs: 'any' })
    expect(await h.gate('mail', { user: 'anna@example.test', from: 'eve@example.test' })).toBeUndefined()
  })

  it('refuses a password that is not hashed, without showing it', async () => {
    const wrong = harness([users], { options: [{ users: { anna: 'plain-text-secret' } }] })
    await expect(wrong).rejects.toThrow(/passwd/)
    await expect(wrong).rejects.not.toThrow(/plain-text-secret/)
  })
})
