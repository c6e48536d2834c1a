import { readFileSync } from 'node:fs'
import { stageNames } from '@posthorn/core/runtime'
import { beforeAll, expect, test } from 'vitest'
import { pages } from '../../docs/generator/pages.ts'
import { files, packages } from './packages.ts'

let made: Readonly<Record<string, string>>
const page = (name: string) => made[name] ?? ''

beforeAll(async () => {
  made = await pages()
})

test('every option of the configuration has its row, with words', () => {
  const rows = page('config.md').match(/^\| `.*$/gm) ?? []
  for (const key of ['hostname', 'listeners.<name>.listen', 'limits.idle', 'queue.retry', 'trust.xclient', 'plugins']) {
    expect(rows.filter(row => row.startsWith(`| \`${key}\` `))).toHaveLength(1)
  }
  const wordless = rows.filter(row => row.endsWith('|  |'))
  expect(wordless).toEqual([])
  expect(page('config.md')).toContain('| `limits.messagesPerConnection` | number | `100000` |')
})

test('every plugin has its options', () => {
  const plugins = packages().filter(({ folder, src }) => folder.startsWith('packages/plugins/') && src.length > 0)
  for (const { manifest } of plugins) expect(page('plugins.md')).toContain(`Package [${manifest.name}](`)
  expect(page('plugins.md')).toContain('| `junk` | text | `.Junk` |')
})

test('every stage has its kind, time and fault', () => {
  for (const stage of stageNames) expect(page('hooks.md')).toContain(`| \`${stage}\` | `)
  expect(page('hooks.md')).toContain('| `connect` | gate | 30s | 421 4.3.2 |')
  expect(page('hooks.md')).toContain('First answer wins')
})

test('every error code of the sources is listed', () => {
  const thrown = files('packages/*/src/**/*.ts', 'packages/plugins/*/src/**/*.ts').flatMap(({ code }) =>
    Array.from(code.matchAll(/new PosthornErrors?\(\s*'(POSTHORN_\w+)'/g), match => match[1] as string),
  )
  expect(thrown.length).toBeGreaterThan(50)
  for (const code of new Set(thrown)) expect(page('errors.md')).toContain(`| \`${code}\` |`)
  expect(page('errors.md')).not.toContain('${')
})

test('every command has its help', () => {
  expect(page('cli.md')).toContain('Usage: posthorn queue list [options]')
  const program = readFileSync(new URL('../../packages/cli/src/program.ts', import.meta.url), 'utf8')
  const names = Array.from(program.matchAll(/add\(\s*program,\s*'(\w+)'/g), match => match[1])
  expect(names.length).toBeGreaterThan(8)
  for (const name of names) expect(page('cli.md')).toContain(`\n## posthorn ${name}\n`)
})
