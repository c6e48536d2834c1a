import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { loadConfig } from '../../src/boot/load.ts'
import { findConfig, readSource } from '../../src/config/source.ts'
import { complaints, folderOf } from './folder.ts'

const yaml = 'hostname: mx.example.org\nlisteners:\n  mx: { listen: "127.0.0.1:0" }\n'

describe('finding', () => {
  it('goes upwards, past folders that have none', async () => {
    const folder = folderOf({ 'posthorn.config.yaml': yaml, 'a/b/readme.txt': '' })
    expect(await findConfig(join(folder, 'a/b'))).toBe(join(folder, 'posthorn.config.yaml'))
    expect((await loadConfig({ cwd: join(folder, 'a/b') })).config.data).toBe(join(folder, 'data'))
  })

  it('takes a file that is named', async () => {
    const folder = folderOf({ 'other.yml': yaml, 'posthorn.config.json': 'broken' })
    expect((await loadConfig({ cwd: folder, file: 'other.yml' })).file).toBe(join(folder, 'other.yml'))
  })

  it('says which of two in one folder it takes', async () => {
    const folder = folderOf({ 'posthorn.config.yaml': yaml, 'posthorn.config.json': '{}' })
    const warnings: string[] = []
    const { file } = await loadConfig({ cwd: folder, warn: message => warnings.push(message) })
    expect(file).toBe(join(folder, 'posthorn.config.yaml'))
    expect(warnings).toEqual([`${folder}/posthorn.config.json is not used: posthorn.config.yaml beside it comes first`])
  })

  it('does not pass over a broken one for another further up', async () => {
    const folder = folderOf({
      'posthorn.config.yaml': yaml,
      'in/posthorn.config.json': '{',
      'in2/posthorn.config.json': '',
    })
    expect(await complaints(folder, loadConfig({ cwd: join(folder, 'in') }))).toHaveLength(1)
    expect(await complaints(folder, loadConfig({ cwd: join(folder, 'in2') }))).toHaveLength(1)
  })

  it.skipIf(process.getuid?.() === 0)('nor over one that it may not read', async () => {
    const folder = folderOf({ 'posthorn.config.yaml': yaml, 'in/posthorn.config.yaml': yaml })
    chmodSync(join(folder, 'in/posthorn.config.yaml'), 0)
    expect(await complaints(folder, loadConfig({ cwd: join(folder, 'in') }))).toEqual([
      expect.stringContaining('cannot be read (EACCES)'),
    ])
  })

  it('says when there is none, and what to do', async () => {
    const folder = folderOf({ 'x/y': '' })
    // A file of that name in the system's temp folder's parents would be found: that is how searching works.
    expect(await complaints(folder, loadConfig({ cwd: folder }))).toEqual([
      expect.stringMatching(/no posthorn\.config.* \| Run `posthorn init` to write one, or name one with --config\./),
    ])
    expect(await complaints(folder, loadConfig({ cwd: folder, file: 'nope.yaml' }))).toEqual([
      'the configuration nope.yaml does not exist | Name another one with --config.',
    ])
    mkdirSync(join(folder, 'posthorn.config.yaml'))
    expect(await complaints(folder, loadConfig({ cwd: folder, file: 'posthorn.config.yaml' }))).toEqual([
      'the configuration posthorn.config.yaml is a folder | Name another one with --config.',
    ])
    expect(await complaints(folder, loadConfig({ cwd: folder, file: 'x/y' }))).toEqual([
      expect.stringContaining('do not know how to read'),
    ])
  })
})

describe('lines', () => {
  it('are told for YAML, all problems at once, in order', async () => {
    const folder = folderOf({
      'posthorn.config.yaml': `hostname: mx.example.org
listeners:
  mx:
    listen: 127.0.0.1:0
    limits:
      recipients: many
queue:
  retry:
    - 5m
    - soon
# a comment
drian: 5m
plugins:
  - ./mine.mjs
  - use: ./mine.mjs
    on: [mx, mxx]
`,
      'mine.mjs': 'export default 7',
    })
    expect(await complaints(folder, loadConfig({ cwd: folder }))).toEqual([
      'posthorn.config.yaml:6 listeners.mx.limits.recipients | expected a number, found "many"',
      'posthorn.config.yaml:10 queue.retry[1] | expected a duration like 5m, 1h30m or 4d (or a number of milliseconds), found "soon"',
      'posthorn.config.yaml:12 drian | unknown option "drian" | Did you mean "drain"?',
      'posthorn.config.yaml:14 plugins[0] | mine.mjs is not a plugin: its default export is a number | End it with `export default definePlugin({ name, schema, setup })`; a schema without options is `z.strictObject({})`.',
      'posthorn.config.yaml:16 plugins[1].on[1] | expected one of "mx", "submission", "lmtp", "access", "internal", found "mxx" | Did you mean "mx"?',
    ])
  })

  it('are told for JSON, tabs and all', async () => {
    const folder = folderOf({
      'posthorn.config.json':
        '{\n\t"listeners": {\n\t\t"mx": {\n\t\t\t"listen": 25,\n\t\t\t"tls": "maybe"\n\t\t}\n\t},\n\t"trace": { "keep": true }\n}\n',
    })
    expect(await complaints(folder, loadConfig({ cwd: folder }))).toEqual([
      'posthorn.config.json:5 listeners.mx.tls | expected one of "none", "starttls", "implicit", found "maybe"',
      'posthorn.config.json:8 trace.keep | expected a duration like 5m, 1h30m or 4d (or a number of milliseconds), found true',
    ])
  })

  it.each([
    ['YAML', 'yaml', 'listeners:\n  mx: { listen: 25 }\n bad: indent\n', 3],
    ['a key set twice in YAML', 'yaml', 'drain: 1m\nmixed: junk\ndrain: 2m\n', 3],
    ['JSON', 'json', '{\n  "drain": "1m",\n  "mixed": }\n', 3],
    ['a key set twice in JSON', 'json', '{\n  "drain": "1m",\n  "drain": "2m"\n}\n', 3],
  ])('are told for a fault in %s', async (_name, extension, text, line) => {
    const folder = folderOf({ [`posthorn.config.${extension}`]: text })
    expect(await complaints(folder, loadConfig({ cwd: folder }))).toEqual([
      expect.stringMatching(
        new RegExp(`^posthorn\\.config\\.${extension}:${line} \\| the configuration cannot be read: `),
      ),
    ])
  })

  it('and for what a TypeScript file throws', async () => {
    const folder = folderOf({ 'posthorn.config.mjs': '\n\nthrow new Error("no such luck")\n' })
    expect(await complaints(folder, loadConfig({ cwd: folder }))).toEqual([
      expect.stringMatching(/^posthorn\.config\.mjs(:\d+)? \| the configuration cannot be read: no such luck$/),
    ])
    const empty = folderOf({ 'posthorn.config.mjs': 'export const config = {}\n' })
    expect(await complaints(empty, loadConfig({ cwd: empty }))).toEqual([
      'posthorn.config.mjs | the configuration cannot be read: it has no default export | End it with `export default defineConfig({ … })`.',
    ])
    // What CommonJS makes of a file that exports nothing.
    const forgotten = folderOf({ 'posthorn.config.ts': 'export default {}\n' })
    expect(await complaints(forgotten, loadConfig({ cwd: forgotten }))).toEqual([
      'posthorn.config.ts | the configuration cannot be read: its default export is missing or empty | End it with `export default defineConfig({ … })`.',
    ])
  })

  it('with the character that JSON did not expect, and never a word around it', async () => {
    const said = async (text: string) => {
      const folder = folderOf({ 'posthorn.config.json': text })
      const [line] = await complaints(folder, loadConfig({ cwd: folder }))
      return line?.replace('posthorn.config.json', '').replace('the configuration cannot be read: ', '')
    }
    expect(await said('{ "plugins": [\n  "a",\n] }')).toBe(
      ':3 | it is not valid JSON: "]" is not expected here | Drop the comma before it.',
    )
    expect(await said('{ "drain": "5m" "mixed": "junk" }')).toBe(':1 | it is not valid JSON')
    expect(await said('{ // a comment\n}')).toBe(':1 | it is not valid JSON: "/" is not expected here')
    expect(await said('{ "drain": "5m",\n')).toBe(':2 | it is not valid JSON: the end of the file is not expected here')
    expect(await said('{ "password": hunter2 }')).toBe(':1 | it is not valid JSON')
    const empty = folderOf({ 'posthorn.config.yaml': '# later\n' })
    expect(await complaints(empty, loadConfig({ cwd: empty }))).toEqual([
      'posthorn.config.yaml | the configuration cannot be read: it is empty',
    ])
  })
})

describe('hostile files', () => {
  it('cost no more than a refusal', async () => {
    const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${[...'bcdefghij'].map((n, i) => `${n}: &${n} [${`*${'abcdefghij'[i]},`.repeat(9)}]`).join('\n')}\n`
    const folder = folderOf({
      'bomb.yaml': bomb,
      'latin.yaml': '',
      'deep.json': `${'['.repeat(5000)}${']'.repeat(5000)}`,
    })
    writeFileSync(join(folder, 'latin.yaml'), Buffer.from('hostname: b\xfccher\n', 'latin1'))
    writeFileSync(join(folder, 'huge.yaml'), Buffer.alloc(9 * 2 ** 20, '#'))
    for (const file of ['bomb.yaml', 'latin.yaml', 'huge.yaml', 'deep.json']) {
      expect(await complaints(folder, loadConfig({ cwd: folder, file }))).toHaveLength(1)
    }
  })

  it('never show a secret in an error', async () => {
    const texts = {
      'a.json': '{ "plugins": [ { "users": { "password": "hunter2" ] } }',
      'b.json': '{"plugins":[{"x":{"password":"hunter2"}}] "y"}',
      'c.yaml': 'plugins:\n  - x: { password: "hunter2\n',
      'd.yaml':
        'plugins:\n  - ./p.mjs: { password: hunter2, token: [hunter2], hunter: 2 }\nlisteners: { mx: { listen: hunter2 } }\npassword: hunter2\n',
    }
    const folder = folderOf({ ...texts, 'p.mjs': 'export default 1' })
    for (const file of Object.keys(texts)) {
      const said = (await complaints(folder, loadConfig({ cwd: folder, file }))).filter(
        line => !line.includes('listen '),
      )
      expect(said.join('\n')).not.toContain('hunter2')
    }
  })

  it('of any kind end in an error of ours', async () => {
    const folder = folderOf({})
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'binary', maxLength: 200 }),
        fc.constantFrom('yaml', 'json'),
        async (text, extension) => {
          const file = join(folder, `x.${extension}`)
          writeFileSync(file, text)
          await readSource(file, 0).catch(error => expect(error.code).toBe('POSTHORN_CONFIG_SYNTAX'))
        },
      ),
      { numRuns: 200 },
    )
  })
})
