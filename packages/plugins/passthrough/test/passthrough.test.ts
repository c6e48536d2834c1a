import passthrough from '@posthorn/plugin-passthrough'
import { conformance, harness, SmtpPeer } from '@posthorn/testing'
import { expect, it } from 'vitest'

for (const check of conformance(passthrough, { options: { to: '127.0.0.1:1', domains: ['example.test'] } })) {
  it(check.name, check.run)
}

it('accepts nobody of other domains, and dials nobody for them', async () => {
  await using peer = await SmtpPeer.start()
  await using h = await harness([passthrough], { options: [{ to: peer.address, domains: ['example.test'] }] })
  expect(await h.gate('rcpt', { to: ['zoe@else.test'] })).toMatchObject({ code: 550, enhanced: '5.7.1' })
  expect(peer.connections).toBe(0)
  expect(await h.gate('rcpt', { to: ['anna@example.test'] })).toBeUndefined()
})

it('what has no client is delivered from the queue', async () => {
  await using peer = await SmtpPeer.start()
  await using h = await harness([passthrough], { options: [{ to: peer.address, domains: ['example.test'] }] })
  const outcomes = await h.deliver('Subject: x\r\n\r\nx\r\n', { role: 'internal', to: ['anna@example.test'] })
  expect(outcomes.get('anna@example.test')).toMatchObject({ kind: 'relayed' })
})
