import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Status, TraceLine } from '@posthorn/core/runtime'
import { type PeerOptions, type PeerScript, SmtpPeer } from '@posthorn/testing'
import { describe, expect, it, onTestFinished } from 'vitest'
import { answering, posthorn, temporary } from './terminal.ts'

async function peer(script: PeerScript = {}, options: PeerOptions = {}) {
  const made = await SmtpPeer.start({ ...options, on: script })
  onTestFinished(() => made.close())
  return made
}

describe('send --server', () => {
  it('shows the dialogue, and ends with 0 where all is accepted', async () => {
    const p = await peer()
    const said = await posthorn(
      temporary(),
      `send --server 127.0.0.1:${p.port} --from a@example.org --to b@example.org c@example.org --tls none`,
    )
    expect(said.err).toEqual([])
    expect(said.code).toBe(0)
    expect(said.out).toEqual(
      expect.arrayContaining([`→ 127.0.0.1:${p.port}`, expect.stringContaining('C: RCPT TO:<c@example.org>')]),
    )
    const [message] = p.messages
    expect(message?.bytes?.toString()).toMatch(
      /^From: a@example\.org\r\nTo: b@example\.org, c@example\.org\r\nSubject: Test by posthorn send\r\nDate: /,
    )
  })

  it('sends a file as it is, but for its line ends', async () => {
    const cwd = temporary()
    const p = await peer()
    writeFileSync(join(cwd, 'x.eml'), Buffer.from('Subject: x\n\n.dot\nbl\xf6d\r\n', 'latin1'))
    await posthorn(cwd, `send --server 127.0.0.1:${p.port} --from <> --to b@example.org --file x.eml --tls none`)
    expect(p.messages[0]?.bytes).toEqual(Buffer.from('Subject: x\r\n\r\n.dot\r\nbl\xf6d\r\n', 'latin1'))
  })

  it('tells who was refused, in whose words', async () => {
    const p = await peer({ rcpt: ({ nth }) => (nth === 2 ? '550 5.1.1 never heard of' : undefined) })
    const said = await posthorn(
      temporary(),
      `send --server 127.0.0.1:${p.port} --from a@example.org --to b@example.org c@example.org --tls none`,
    )
    expect(said.code).toBe(70)
    expect(said.err).toEqual(['not accepted for c@example.org: 550 5.1.1 never heard of'])
  })

  it.each<[string, PeerScript, number]>([
    ['hangs up', { connect: 'cut' }, 70],
    ['refuses', { connect: '554 5.7.1 go away' }, 70],
    ['cuts after the dot', { dot: 'cut', bdat: 'cut' }, 70],
  ])('ends with an error where the peer %s', async (_name, script, code) => {
    const p = await peer(script)
    const said = await posthorn(
      temporary(),
      `send --server 127.0.0.1:${p.port} --from a@example.org --to b@example.org --tls none`,
    )
    expect(said.code).toBe(code)
    expect(said.err[0]).toContain(`127.0.0.1:${p.port}`)
  })

  it('ends with 69 where nobody listens', async () => {
    const p = await peer()
    await p.close()
    expect(
      (await posthorn(temporary(), `send --server 127.0.0.1:${p.port} --from a@b.example --to c@d.example`)).code,
    ).toBe(69)
  })

  it.each([
    '--to nobody',
    '--to a@b.example --tls maybe',
    '--to a@b.example --subject a\r\nBcc:x@y.example',
    '--to a@b.example --user anna',
  ])('refuses %j', async options => {
    const p = await peer()
    expect((await posthorn(temporary(), `send --server 127.0.0.1:${p.port} ${options}`)).code).toBe(64)
    expect(p.messages).toEqual([])
  })

  it('logs in with the password of the environment, and never shows it', async () => {
    const p = await peer({}, { tls: 'starttls', users: { anna: 'geheim' } })
    const said = await posthorn(
      temporary(),
      `send --server 127.0.0.1:${p.port} --user anna --from a@example.org --to b@example.org`,
      {
        env: { POSTHORN_PASSWORD: 'geheim' },
      },
    )
    expect(said.code).toBe(0)
    const shown = said.out.join('\n')
    expect(shown).not.toContain('geheim')
    expect(shown).not.toContain(Buffer.from('\0anna\0geheim').toString('base64'))
  })
})

describe('send', () => {
  const line = (stage: string, verdict: string): TraceLine => ({ at: 1000, stage, verdict, plugin: 'p' })

  async function running(port: number, states: readonly string[]) {
    const cwd = temporary()
    const status = {
      hostname: 'mx.example.org',
      listeners: [{ name: 'mx', role: 'mx', addresses: [`0.0.0.0:${port}`], tls: 'starttls' }],
    }
    const asked: unknown[] = []
    await answering(cwd, {
      status: async () => status as unknown as Status,
      async follow(params, emit) {
        asked.push(params)
        emit(line('rcpt', 'accept'))
        emit(line('deliver', states[0] as string))
        if (states[1] === 'never') await new Promise(() => {})
        return { id: (params as { id: string }).id, state: states[1] }
      },
    })
    return { cwd, asked }
  }

  it.each([
    ['gone', '1M83ABC: done'],
    ['deferred', '1M83ABC: deferred: it will be tried again'],
    ['held', '1M83ABC: held for an operator'],
  ])('follows a message of the running server until it is %s', async (state, last) => {
    const p = await peer({ dot: '250 2.0.0 OK: queued as 1M83ABC', bdat: '250 2.0.0 OK: queued as 1M83ABC' })
    const { cwd, asked } = await running(p.port, ['delivered', state])
    const said = await posthorn(cwd, 'send --to b@example.org --tls none')
    expect(said.code).toBe(0)
    expect(asked).toEqual([{ id: '1M83ABC' }])
    expect(said.out.slice(-3)).toEqual(['  +0.000s  rcpt  p  accept', '  +0.000s  deliver  p  delivered', last])
  })

  it('stops following when it has waited long enough', async () => {
    const p = await peer({ dot: '250 2.0.0 OK: queued as M1', bdat: '250 2.0.0 OK: queued as M1' })
    const { cwd } = await running(p.port, ['defer', 'never'])
    const said = await posthorn(cwd, 'send --to b@example.org --tls none --wait 20ms --json')
    expect(JSON.parse(said.out[0] ?? '')).toMatchObject({ id: 'M1', events: [{ stage: 'rcpt' }, { verdict: 'defer' }] })
    expect((await posthorn(cwd, 'send --to b@example.org --tls none --no-follow')).out.at(-1)).toBe('M1: accepted')
  })

  it('knows its listeners', async () => {
    const { cwd } = await running(1, [])
    const said = await posthorn(cwd, 'send --to b@example.org --listener lmtp')
    expect(said).toMatchObject({ code: 64, err: ['posthorn: the server has no listener "lmtp"', '  → It has: mx.'] })
  })
})
