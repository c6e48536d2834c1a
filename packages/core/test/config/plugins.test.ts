import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, it } from 'vitest'
import { loadConfig } from '../../src/boot/load.ts'
import { resolvePlugin } from '../../src/boot/resolve.ts'
import { complaints, folderOf, plugin } from './folder.ts'

const listeners = { mx: { listen: 0 } }
const config = (plugins: unknown) => JSON.stringify({ hostname: 'a.example', listeners, plugins })

const pack = (name: string, code = plugin(name), manifest: object = { main: 'index.js' }) => ({
  [`node_modules/${name}/package.json`]: JSON.stringify({ name, type: 'module', ...manifest }),
  [`node_modules/${name}/index.js`]: code,
})

describe('entries', () => {
  it('are a name, a name with options, or the long form', async () => {
    const folder = folderOf({
      'posthorn.config.json': config([
        './a.mjs',
        { './a.mjs': { n: 1 } },
        { './a.mjs': null },
        {
          use: './a.mjs',
          as: 'a-2',
          on: 'mx',
          unless: { net: '10.0.0.0/8' },
          onError: 'ignore',
          objection: 'junk',
          timeout: '5s',
          options: { n: 2 },
        },
      ]),
      'a.mjs': plugin('a'),
    })
    const loaded = await loadConfig({ cwd: folder })
    const base = { use: './a.mjs', onError: 'fail', objection: 'keep' }
    const at = `${folder}/posthorn.config.json:1`
    expect(loaded.config.plugins).toEqual([
      { ...base, options: {}, at: `${at} plugins[0]` },
      { ...base, options: { n: 1 }, at: `${at} plugins[1]` },
      { ...base, options: {}, at: `${at} plugins[2]` },
      {
        ...base,
        as: 'a-2',
        on: ['mx'],
        unless: { net: ['10.0.0.0/8'] },
        onError: 'ignore',
        objection: 'junk',
        timeout: 5000,
        options: { n: 2 },
        at: `${at} plugins[3]`,
      },
    ])
    expect(loaded.plugins.map(p => [p.plugin.name, p.from])).toEqual(Array(4).fill(['a', join(folder, 'a.mjs')]))
    expect(loaded.plugins[1]?.where?.(['n'])).toBe(`${at} plugins[1]["./a.mjs"].n`)
  })

  it('that are something else are refused, the others go on', async () => {
    const folder = folderOf({
      'posthorn.config.json': config([7, null, {}, { a: 1, b: 2 }, ['x'], { use: '' }, './a.mjs']),
      'a.mjs': plugin('a'),
    })
    const said = await complaints(folder, loadConfig({ cwd: folder }))
    expect(said).toHaveLength(6)
    expect(said[3]).toContain('expected one plugin, found 2 names (a, b)')
  })
})

describe('resolution', () => {
  it('tries @posthorn/plugin-x, then posthorn-plugin-x, from the config and then from the distribution', () => {
    const home = folderOf({ ...pack('posthorn-plugin-ours'), ...pack('posthorn-plugin-both') })
    const global = folderOf({ ...pack('@posthorn/plugin-both'), ...pack('@posthorn/plugin-std') })
    const bases = [home, global].map(folder => pathToFileURL(join(folder, 'x.js')).href)
    const find = (use: string) => resolvePlugin(use, bases)
    expect(find('ours')).toEqual({ file: join(home, 'node_modules/posthorn-plugin-ours/index.js'), local: false })
    expect(find('std')).toEqual({ file: join(global, 'node_modules/@posthorn/plugin-std/index.js'), local: false })
    expect(find('both').file).toBe(join(global, 'node_modules/@posthorn/plugin-both/index.js'))
    expect(find('posthorn-plugin-ours').file).toContain('posthorn-plugin-ours')
    expect(find('@posthorn/plugin-std').file).toContain('plugin-std')
  })

  it.each<[string, object]>([
    ['exports as a string', { exports: './index.js' }],
    ['exports of the root', { exports: { '.': './index.js' } }],
    ['conditions', { exports: { '.': { types: './x.d.ts', require: './x.cjs', import: { node: './index.js' } } } }],
    ['the default', { exports: { browser: './x.js', default: './index.js' } }],
    ['no main', {}],
  ])('understands %s', (_name, manifest) => {
    const folder = folderOf(pack('posthorn-plugin-acme', plugin('acme'), manifest))
    const found = resolvePlugin('acme', [pathToFileURL(join(folder, 'x.js')).href])
    expect(found.file).toBe(join(folder, 'node_modules/posthorn-plugin-acme/index.js'))
  })

  it('takes folders and files by path, from the config file', async () => {
    const folder = folderOf({
      'etc/posthorn.config.json': config(['../p', '../q', '../r.mjs']),
      'p/index.mjs': plugin('p'),
      'q/package.json': '{"type":"module","exports":{".":"./lib/main.js"}}',
      'q/lib/main.js': plugin('q'),
      'r.mjs': plugin('r'),
    })
    const loaded = await loadConfig({ cwd: join(folder, 'etc') })
    expect(loaded.plugins.map(p => p.from.slice(folder.length))).toEqual(['/p/index.mjs', '/q/lib/main.js', '/r.mjs'])
  })

  it('tells what was tried, what was meant, and how to install it', async () => {
    const global = folderOf({
      'cli/package.json':
        '{"name":"posthorn","dependencies":{"@posthorn/plugin-domains":"1","@posthorn/plugin-relay":"1"}}',
      'cli/src/x.js': '',
    })
    const folder = folderOf({
      'posthorn.config.json': config([
        'rely',
        'weather',
        '@acme/nope',
        './gone.ts',
        './b',
        'b.ts',
        'NOT a name',
        '../../\0',
      ]),
      'b.ts': plugin('b'),
    })
    const bases = [pathToFileURL(join(global, 'cli/src/x.js')).href]
    const said = await complaints(folder, loadConfig({ cwd: folder, bases }))
    expect(said.map(line => line.replace(/^.*?plugins/, 'plugins'))).toEqual([
      'plugins[0] | no plugin "rely" (looked for @posthorn/plugin-rely, posthorn-plugin-rely) | Did you mean "relay"? Else install it: npm install @posthorn/plugin-rely',
      'plugins[1] | no plugin "weather" (looked for @posthorn/plugin-weather, posthorn-plugin-weather) | Install it: npm install @posthorn/plugin-weather',
      'plugins[2] | no plugin "@acme/nope" (looked for @acme/nope) | Install it: npm install @acme/nope',
      expect.stringContaining('no plugin "./gone.ts": there is no gone.ts'),
      'plugins[4] | no plugin "./b": there is no b | Did you mean "./b.ts"?',
      'plugins[5] | no plugin "b.ts" (looked for @posthorn/plugin-b.ts, posthorn-plugin-b.ts) | Did you mean "./b.ts"?',
      'plugins[6] | "NOT a name" is neither a package name nor a path',
      expect.stringContaining('no plugin'),
    ])
  })

  it('says what is wrong with code that is there', async () => {
    const folder = folderOf({
      'posthorn.config.json': config([
        './throws.mjs',
        './syntax.mjs',
        './number.mjs',
        './unbuilt',
        './fn.mjs',
        './half.mjs',
        './named.mjs',
        './late.mjs',
      ]),
      'throws.mjs': 'throw new TypeError("boom\\nand more")',
      'syntax.mjs': 'export default {{',
      'number.mjs': 'export default 5',
      'unbuilt/package.json': '{"exports":"./dist/index.js"}',
      'fn.mjs': 'export default () => ({})',
      'half.mjs': 'export default { name: "half", setup: () => ({}) }',
      'named.mjs': 'export const plugin = { name: "half", setup: () => ({}) }',
      'late.mjs': 'import "./none.mjs"; export default 1',
    })
    const said = await complaints(folder, loadConfig({ cwd: folder }))
    expect(said.map(line => line.replace(/^.*? \| /, '').replace(/ \| .*/, ''))).toEqual([
      'the plugin "./throws.mjs" failed to load: boom',
      expect.stringContaining('the plugin "./syntax.mjs" failed to load:'),
      'number.mjs is not a plugin: its default export is a number',
      'the package ./unbuilt in unbuilt has no code to import',
      'fn.mjs is not a plugin: its default export is a function',
      'half.mjs is not a plugin: its default export has no schema',
      'named.mjs is not a plugin: it has no default export',
      expect.stringContaining('the plugin "./late.mjs" failed to load:'),
    ])
  })

  it('gives up on a module that never finishes loading', async () => {
    const folder = folderOf({
      'posthorn.config.json': config(['./never.mjs']),
      'never.mjs': 'await new Promise(() => {})',
    })
    const timers: (() => void)[] = []
    const clock = {
      now: () => 0,
      monotonic: () => 0,
      after(_ms: number, fn: () => void) {
        timers.push(fn)
        return () => {}
      },
    }
    const loading = complaints(folder, loadConfig({ cwd: folder, clock }))
    await expect.poll(() => timers.length).toBe(1)
    timers[0]?.()
    expect(await loading).toEqual([expect.stringContaining('did not finish')])
  })

  it('reads secrets and paths of options from the config folder, whenever they are validated', async () => {
    const folder = folderOf({
      'posthorn.config.json': config([{ './s.mjs': { key: { file: 'key' } } }]),
      's.mjs': '',
      key: 'geheim',
    })
    const source = new URL('../../src/index.ts', import.meta.url).href
    mkdirSync(join(folder, 'node_modules'), { recursive: true })
    writeFileSync(
      join(folder, 's.mjs'),
      `import { secret, definePlugin } from ${JSON.stringify(source)}
       const schema = { '~standard': { version: 1, vendor: 't', validate: v => secret()['~standard'].validate(v.key) } }
       export default definePlugin({ name: 's', schema, setup: () => ({}) })`,
    )
    const { plugins } = await loadConfig({ cwd: folder })
    const result = await plugins[0]?.plugin.schema['~standard'].validate({ key: { file: 'key' } })
    expect(result).toEqual({ value: 'geheim' })
  })
})
