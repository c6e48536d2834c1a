import { existsSync, readFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Block, blocks, documents } from './documents.ts'
import { sh } from './install.ts'
import { root } from './packages.ts'

const marked = (kind: Block['mark']) =>
  documents().flatMap(doc => blocks(doc).flatMap(block => (block.mark === kind ? [{ doc: doc.path, ...block }] : [])))

describe('documents', () => {
  test.each(documents())('$path: every link to a file of ours leads somewhere', ({ path, text }) => {
    const links = Array.from(text.matchAll(/\]\(([^)\s]+)\)/g), match => match[1] as string)
    const local = links.filter(link => !/^(https?:|mailto:|#)/.test(link)).map(link => link.replace(/#.*$/, ''))
    expect(local.filter(link => !existsSync(join(root, dirname(path), link)))).toEqual([])
  })

  test('there are files and commands to hold them to', () => {
    expect(marked('file').length).toBeGreaterThan(3)
    expect(marked('test').length).toBeGreaterThan(0)
  })

  test.each(marked('file'))('$doc shows $argument as it is', ({ argument, text, language }) => {
    expect(argument.endsWith(language)).toBe(true)
    expect(text).toBe(readFileSync(join(root, argument), 'utf8'))
  })

  test.each(marked('test'))('$doc: `$text` works as printed', async ({ text, language }) => {
    expect(language).toBe('sh')
    const env = { PATH: join(root, 'node_modules/.bin') + delimiter + process.env.PATH }
    await sh('bash', ['-euo', 'pipefail', '-c', text], root, env)
  })

  test('every decision is in the list', () => {
    const list = readFileSync(join(root, 'docs/decisions/README.md'), 'utf8').replaceAll(/ +\|/g, ' |')
    const pages = documents().filter(({ path }) => /^docs\/decisions\/\d/.test(path))
    for (const { path, text } of pages) {
      const number = Number(path.match(/\d+/)?.[0])
      const title = text.match(/^# (\d+)\. (.+)$/m)
      expect(title?.[1], path).toBe(String(number))
      expect(list).toContain(`| [${number}](${path.replace('docs/decisions/', '')}) | ${title?.[2]} |`)
    }
  })
})

describe('the reader of documents', () => {
  test('finds fenced blocks and their marks', () => {
    const text = '# T\n<!-- test -->\n```sh\nnpm test\n```\n\n```ts\nx\n```\n<!-- file: a/b.ts -->\n```ts\ny\nz\n```\n'
    expect(blocks({ path: 'x.md', text })).toEqual([
      { mark: 'test', argument: '', language: 'sh', text: 'npm test\n' },
      { mark: undefined, argument: '', language: 'ts', text: 'x\n' },
      { mark: 'file', argument: 'a/b.ts', language: 'ts', text: 'y\nz\n' },
    ])
  })
})
