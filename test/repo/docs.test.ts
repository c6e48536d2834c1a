import { existsSync, readFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import type { ConfigInput } from '@posthorn/core'
import { describe, expect, test } from 'vitest'
import { startPosthorn } from '../interop/posthorn.ts'
import { succeed } from '../interop/program.ts'
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

  test.each(marked('test').filter(({ argument }) => argument === ''))(
    '$doc: `$text` works as printed',
    async ({ text, language }) => {
      expect(language).toBe('sh')
      const env = { PATH: join(root, 'node_modules/.bin') + delimiter + process.env.PATH }
      await sh('bash', ['-euo', 'pipefail', '-c', text], root, env)
    },
  )

  const beside = marked('test').filter(({ argument }) => argument !== '')
  const pages = Map.groupBy(beside, ({ doc, argument }) => `${doc} with ${argument}`)

  test.each([...pages])(
    '%s: its commands work as printed, one after the other',
    async (_page, commands) => {
      await using server = await startPosthorn(await elsewhere(commands[0]?.argument ?? ''))
      const env = {
        ...process.env,
        PATH: join(root, 'node_modules/.bin') + delimiter + process.env.PATH,
        NODE_OPTIONS: '--conditions=@posthorn/source',
      }
      for (const { text } of commands)
        await succeed('bash', ['-euo', 'pipefail', '-c', text], { cwd: server.folder, env })
      // Each command is a process that reads our sources: a page of them takes its time on a busy machine.
    },
    60_000,
  )

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

/** A configuration with a data folder and ports of its own. */
async function elsewhere(path: string): Promise<ConfigInput> {
  const { default: config } = (await import(join(root, path))) as { default: ConfigInput }
  const listeners = Object.fromEntries(
    Object.entries(config.listeners).map(([name, listener]) => [name, { ...listener, listen: '127.0.0.1:0' }]),
  )
  return { ...config, data: 'data', log: { file: 'posthorn.log' }, listeners }
}

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
