import { EventEmitter } from 'node:events'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { PosthornError, verifyPassword } from '@posthorn/core'
import { loadConfig } from '@posthorn/core/runtime'
import { describe, expect, it, vi } from 'vitest'
import { start } from '../src/commands/start.ts'
import { makeDemo } from '../src/demo.ts'
import { bases } from '../src/distribution.ts'
import type { Signals } from '../src/lifetime.ts'
import type { StartServer } from '../src/server.ts'
import { temporary, terminal } from './terminal.ts'

class FakeSignals extends EventEmitter {
  readonly exits: number[] = []
  exit(code: number) {
    this.exits.push(code)
  }
}

function setting(
  overrides: { stop?: () => Promise<void>; reload?: () => Promise<unknown>; boot?: () => Promise<unknown> } = {},
) {
  const cwd = temporary()
  writeFileSync(join(cwd, 'posthorn.config.json'), '{"hostname":"mx.example.org","listeners":{"mx":{"listen":0}}}')
  const io = terminal(cwd)
  const signals = new FakeSignals()
  const stop = vi.fn(overrides.stop ?? (async () => {}))
  const reload = vi.fn(overrides.reload ?? (async () => {}))
  const run: StartServer = async ({ load }) => {
    await load()
    await overrides.boot?.()
    return { addresses: [{ listener: 'mx', address: '127.0.0.1:25' }], stop, reload }
  }
  const ended = start(io, {}, run, signals as unknown as Signals)
  return {
    io,
    signals,
    stop,
    reload,
    ended,
    ready: () => vi.waitFor(() => expect(io.lines.err[0]).toContain('is ready')),
  }
}

describe('start', () => {
  it('runs until SIGTERM, and stops in good order', async () => {
    const s = setting()
    await s.ready()
    expect(s.io.lines.err[1]).toBe('  mx  127.0.0.1:25')
    s.signals.emit('SIGTERM')
    expect(await s.ended).toBe(0)
    expect(s.stop).toHaveBeenCalledOnce()
    expect(s.signals.eventNames()).toEqual([])
  })

  it('ends at once at the second signal', async () => {
    let finish = () => {}
    const s = setting({ stop: () => new Promise(done => (finish = done)) })
    await s.ready()
    s.signals.emit('SIGINT')
    s.signals.emit('SIGINT')
    expect(s.signals.exits).toEqual([130])
    finish()
    expect(await s.ended).toBe(0)
  })

  it('keeps a signal that comes while it starts', async () => {
    let booted = () => {}
    let booting = false
    const boot = () =>
      new Promise<void>(done => {
        booting = true
        booted = done
      })
    const s = setting({ boot })
    s.signals.emit('SIGTERM')
    await vi.waitFor(() => expect(booting).toBe(true))
    booted()
    expect(await s.ended).toBe(0)
    expect(s.stop).toHaveBeenCalledOnce()
    expect(s.io.lines.err.join()).not.toContain('is ready')
  })

  it('reloads at SIGHUP, and goes on where that fails', async () => {
    let fail = false
    const s = setting({
      async reload() {
        if (fail) throw new PosthornError('POSTHORN_CONFIG_INVALID', 'no good', { at: 'x.yaml:1' })
      },
    })
    await s.ready()
    s.signals.emit('SIGHUP')
    await vi.waitFor(() => expect(s.io.lines.err).toContain('SIGHUP: reloaded'))
    fail = true
    s.signals.emit('SIGHUP')
    await vi.waitFor(() => expect(s.io.lines.err.at(-1)).toBe('x.yaml:1: no good'))
    s.signals.emit('SIGTERM')
    expect(await s.ended).toBe(0)
  })

  it('rejects with what stands in its way', async () => {
    const s = setting({ boot: () => Promise.reject(new PosthornError('POSTHORN_STORE_BUSY', 'busy')) })
    await expect(s.ended).rejects.toMatchObject({ code: 'POSTHORN_STORE_BUSY' })
    expect(s.signals.eventNames()).toEqual([])
  })
})

describe('the demo', () => {
  it('keeps its account, for its owner alone', async () => {
    const cwd = temporary()
    const first = await makeDemo(cwd)
    expect(first.account.user).toBe('demo@example.test')
    expect(first.account.password).toMatch(/^([a-z2-9]{4}-){3}[a-z2-9]{4}$/)
    expect(await verifyPassword(first.account.password, first.account.hash)).toBe(true)
    expect(statSync(join(cwd, '.posthorn/demo.json')).mode & 0o777).toBe(0o600)
    expect(statSync(join(cwd, '.posthorn')).mode & 0o777).toBe(0o700)
    expect((await makeDemo(cwd)).account).toEqual(first.account)
    writeFileSync(join(cwd, '.posthorn/demo.json'), '{}')
    await expect(makeDemo(cwd)).rejects.toMatchObject({ fix: 'Remove it; a new one is made.' })
  })

  it('looks for other ports where one was taken while it started', async () => {
    const io = terminal(temporary())
    const signals = new FakeSignals()
    let boots = 0
    const run: StartServer = async ({ load }) => {
      await load()
      boots++
      if (boots < 3) throw new PosthornError('POSTHORN_LISTEN_FAILED', 'cannot listen: EADDRINUSE')
      return { addresses: [], stop: async () => {}, reload: async () => {} }
    }
    const ended = start(io, { demo: true }, run, signals as unknown as Signals)
    await vi.waitFor(() => expect(io.lines.out.join()).toContain('is ready'))
    signals.emit('SIGTERM')
    expect(await ended).toBe(0)
    boots = -10
    const never = start(terminal(temporary()), { demo: true }, run, signals as unknown as Signals)
    await expect(never).rejects.toMatchObject({ code: 'POSTHORN_LISTEN_FAILED' })
  })

  it('is a valid configuration, and takes the next port where one is taken', async () => {
    const cwd = temporary()
    const taken = createServer()
    // Somebody else may have it already; then it is taken just as well.
    await new Promise<void>(done => {
      taken.once('error', () => done())
      taken.listen({ host: '127.0.0.1', port: 2525 }, done)
    })
    const demo = await makeDemo(cwd)
    taken.close()
    expect(demo.ports.mx).toBeGreaterThan(2525)
    expect(demo.ports.submission).not.toBe(demo.ports.mx)
    expect(demo.notes).toContain(`port 2525 is taken, ${demo.ports.mx} is used`)
    const { config } = await loadConfig({ bases, inline: { value: demo.config, folder: cwd, name: 'the demo' } })
    expect(config.data).toBe(join(cwd, '.posthorn'))
    expect(config.listeners.every(l => l.listen.every(a => a.kind === 'tcp' && a.host === '127.0.0.1'))).toBe(true)
    expect(readFileSync(join(cwd, '.posthorn/demo.json'), 'utf8')).toContain(demo.account.hash)
  })
})
