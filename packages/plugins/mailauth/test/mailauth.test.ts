import mailauth from '@posthorn/plugin-mailauth'
import { conformance, fakeDns } from '@posthorn/testing'
import { describe, expect, it } from 'vitest'
import { given, host, letter, start } from './given.ts'
import { sign, signer } from './signed.ts'

for (const check of conformance(mailauth, { options: { workers: 1 }, services: [fakeDns(host).service] })) {
  it(check.name, check.run)
}

const anna = signer('sender.test')
const policy = (record: string) => ({ '_dmarc.sender.test': { TXT: record }, [anna.name]: { TXT: anna.record } })

describe('mail that is what it says', () => {
  it('passes everything, and says so once', async () => {
    await using h = await start({ ...host, ...policy('v=DMARC1; p=reject') })
    const { replies, state, head, junk } = await h.message(await sign(letter(), [anna]), given)
    expect(replies[0]?.code).toBe(250)
    expect(junk).toBeUndefined()
    expect(state).toMatchObject({
      'mailauth/iprev': { result: 'pass', name: 'mail.sender.test', ip: '192.0.2.1' },
      'mailauth/spf': { result: 'pass', domain: 'sender.test', identity: 'mailfrom', helo: { result: 'pass' } },
      'mailauth/dkim': { more: 0, signatures: [{ result: 'pass', domain: 'sender.test', selector: 's1' }] },
      'mailauth/dmarc': { result: 'pass', domain: 'sender.test', policy: 'reject', aligned: ['spf', 'dkim'] },
      'mailauth/arc': { result: 'none', instance: 0 },
    })
    expect(head).toMatchInlineSnapshot(`
      "Authentication-Results: mx.test;
      	iprev=pass (mail.sender.test) policy.iprev=192.0.2.1;
      	spf=pass (domain of anna@sender.test designates 192.0.2.1 as permitted
       sender) smtp.mailfrom=anna@sender.test;
      	spf=pass smtp.helo=mail.sender.test;
      	dkim=pass header.d=sender.test header.i=@sender.test header.s=s1
       header.a=ed25519-sha256 header.b=AjI1yFxc;
      	dmarc=pass (p=reject) header.from=sender.test policy.dmarc=reject;
      	arc=none
      Received: from mail.sender.test ([192.0.2.1])
      	by mx.test with ESMTP
      	id 1KE6P4YM0A28M8C1 for <anna@example.test>;
      	Mon, 5 Jan 2026 09:00:00 +0000
      "
    `)
  })
})
