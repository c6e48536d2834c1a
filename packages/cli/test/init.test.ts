import { mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadConfig } from '@posthorn/core/runtime'
import { describe, expect, it } from 'vitest'
import { bases } from '../src/distribution.ts'
import { posthorn, temporary } from './terminal.ts'

describe.each(['ts', 'yaml', 'json'])('init --format %s', format => {
  it.each([
    ['server', '--hostname mx.example.org --domain example.org', ['storage-level', 'domains', 'maildir']],
    ['gateway', '--domain example.org --to mail.inside:2525', ['storage-level', 'recipients', 'relaying', 'relay']],
  ])('writes a %s that is valid', async (_kind, options, plugins) => {
    const cwd = temporary()
    // Vitest runs modules itself, without our hooks: it needs what a global install lends.
    mkdirSync(join(cwd, 'node_modules'))
    symlinkSync(fileURLToPath(new URL('..', import.meta.url)), join(cwd, 'node_modules/posthorn'))
    expect((await posthorn(cwd, `init --yes --format ${format} ${options}`)).code).toBe(0)
    const loaded = await loadConfig({ cwd, bases })
    expect(loaded.plugins.map(p => p.plugin.name)).toEqual(plugins)
    expect(loaded.config.listeners).toHaveLength(1)
    expect(loaded.config.data).toBe(join(cwd, 'data'))
  })
})

describe('init', () => {
  it('never overwrites, in whatever format, unless told to', async () => {
    const cwd = temporary()
    await posthorn(cwd, 'init --yes --format json --domain first.example')
    for (const format of ['ts', 'yaml', 'json']) {
      expect((await posthorn(cwd, `init --yes --format ${format} --domain second.example`)).code).toBe(64)
    }
    expect(readdirSync(cwd)).toEqual(['posthorn.config.json'])
    expect(readFileSync(join(cwd, 'posthorn.config.json'), 'utf8')).toContain('first.example')
    expect((await posthorn(cwd, 'init --yes --force --format json --domain second.example')).code).toBe(0)
    expect(readFileSync(join(cwd, 'posthorn.config.json'), 'utf8')).toContain('second.example')
  })

  it.each(['--hostname "x', "--domain it's", '--to :', '--kind church', '--hostname a..b'])(
    'refuses %s',
    async option => {
      const cwd = temporary()
      expect((await posthorn(cwd, `init --yes --domain example.org ${option}`)).code).toBe(64)
      expect(readdirSync(cwd)).toEqual([])
    },
  )
})
