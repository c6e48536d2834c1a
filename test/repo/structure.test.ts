import { existsSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { describe, expect, test } from 'vitest'
import { files, importsOf, type Package, packageOf, packages, root, type SourceFile } from './packages.ts'

const all = packages()
const layer = ({ manifest: { name } }: Package) =>
  name === 'posthorn'
    ? 'cli'
    : name.startsWith('@posthorn/plugin-')
      ? 'plugin'
      : (name.replace('@posthorn/', '') as 'mail' | 'core' | 'testing')

/** mail ← core ← testing, cli, plugins. Plugins meet each other only through `./keys`, which `keysOnly` looks after. */
const mayUse: Record<ReturnType<typeof layer>, RegExp> = {
  mail: /^$/,
  core: /^@posthorn\/mail$/,
  testing: /^@posthorn\/(mail|core)$/,
  plugin: /^@posthorn\/(mail|core|plugin-[a-z0-9-]+)$/,
  cli: /^@posthorn\/(mail|core|plugin-[a-z0-9-]+)$/,
}

const ours = (specifier: string) => packageOf(specifier)?.match(/^(@posthorn\/.+|posthorn)$/) !== null

/** `file: what` for each file where `wrong` finds something: a failure names its places. */
const places = (sources: readonly SourceFile[], wrong: (file: SourceFile) => readonly string[]) =>
  sources.flatMap(file => wrong(file).map(what => `${file.path}: ${what}`))

const src = all.flatMap(({ src }) => src)
const everything = files(
  ...['packages/**/*.ts', 'packages/*/bin/*.js', 'test/**/*.ts', 'bench/**/*.ts', 'docs/**/*.ts', 'examples/**/*.ts'],
)

describe('what may import what', () => {
  test.each(all)('$manifest.name uses only what is below it', pkg => {
    const wrong = places(pkg.src, ({ imports }) =>
      imports.filter(name => {
        const other = packageOf(name)
        return other !== undefined && ours(name) && other !== pkg.manifest.name && !mayUse[layer(pkg)].test(other)
      }),
    )
    expect(wrong).toEqual([])
    expect(
      Object.keys(pkg.manifest.dependencies ?? {}).filter(name => ours(name) && !mayUse[layer(pkg)].test(name)),
    ).toEqual([])
  })

  test('a plugin reaches another only through its ./keys', () => {
    const plugins = all.filter(pkg => layer(pkg) === 'plugin')
    const wrong = plugins.flatMap(pkg =>
      places(pkg.src, ({ imports }) =>
        imports.filter(name => name.startsWith('@posthorn/plugin-') && packageOf(name) !== pkg.manifest.name),
      ).filter(place => !place.endsWith('/keys')),
    )
    expect(wrong).toEqual([])
  })

  test.each(all)('$manifest.name declares every package that it imports', ({ src, manifest }) => {
    const declared = new Set([
      manifest.name,
      ...Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies, ...manifest.optionalDependencies }),
    ])
    const wrong = places(src, ({ imports }) =>
      imports.filter(name => {
        const other = packageOf(name)
        return other !== undefined && !declared.has(other)
      }),
    )
    expect(wrong).toEqual([])
  })

  test('no relative import leaves its package', () => {
    const wrong = all.flatMap(pkg =>
      places(pkg.src, ({ path, imports }) =>
        imports.filter(
          name => name.startsWith('.') && !posix.join(posix.dirname(path), name).startsWith(`${pkg.folder}/`),
        ),
      ),
    )
    expect(wrong).toEqual([])
  })

  test('mail does no I/O', () => {
    const io = /^(node:)?(fs|tls|dgram|dns|http|https|http2|child_process|worker_threads|cluster)(\/|$)/
    const mail = all.find(pkg => layer(pkg) === 'mail') as Package
    expect(places(mail.src, ({ imports }) => imports.filter(name => io.test(name)))).toEqual([])
    // What an IP address looks like is in node:net too, and is no I/O.
    const net = /import \{([^}]*)\} from 'node:net'/
    const pure = ['isIP', 'isIPv4', 'isIPv6']
    const names = (text: string) =>
      text
        .match(net)?.[1]
        ?.split(',')
        .map(name => name.trim()) ?? []
    expect(places(mail.src, ({ code }) => names(code).filter(name => !pure.includes(name)))).toEqual([])
  })

  test('tsyringe and reflect-metadata: one importer, boot/container.ts', () => {
    const importers = (name: string) => src.filter(({ imports }) => imports.some(i => packageOf(i) === name))
    for (const name of ['tsyringe', 'reflect-metadata']) {
      expect(importers(name).map(({ path }) => path)).toEqual(['packages/core/src/boot/container.ts'])
    }
  })

  test('smtp-server: imported by core/src/smtp alone, and not by the client in it', () => {
    const importers = src.filter(({ imports }) => imports.some(name => packageOf(name) === 'smtp-server'))
    expect(importers.map(({ path }) => path)).not.toEqual([])
    const outside = importers.filter(({ path }) => !/^packages\/core\/src\/smtp\/(?!client\/)/.test(path))
    expect(outside.map(({ path }) => path)).toEqual([])
  })

  test('smtp-server is pinned: we override what it does not promise to keep', () => {
    const core = all.find(pkg => layer(pkg) === 'core') as Package
    expect(core.manifest.dependencies?.['smtp-server']).toMatch(/^\d+\.\d+\.\d+$/)
  })
})

describe('each package', () => {
  test.each(all)('$manifest.name is one that a stranger can use', ({ folder, manifest }) => {
    expect(existsSync(join(root, folder, 'README.md')), `${folder}/README.md`).toBe(true)
    expect(readFileSync(join(root, folder, 'README.md'), 'utf8')).toContain(manifest.name)
    expect(readFileSync(join(root, folder, 'LICENSE'), 'utf8')).toContain('MIT License')
    expect(manifest).toMatchObject({
      license: 'MIT',
      type: 'module',
      engines: { node: '>=22.22.2' },
      repository: { directory: folder },
      publishConfig: { access: 'public' },
    })
    expect(manifest.private).toBeUndefined()
  })

  test.each(all)('$manifest.name runs from source here and from dist elsewhere', ({ folder, manifest }) => {
    expect(manifest.files).toContain('dist')
    expect(manifest.exports).toHaveProperty(['./package.json'])
    for (const [name, target] of Object.entries(manifest.exports)) {
      if (typeof target === 'string') continue
      expect(Object.keys(target), `exports["${name}"]`).toEqual(['@posthorn/source', 'types', 'default'])
      const source = target['@posthorn/source'] as string
      expect(existsSync(join(root, folder, source)), `${folder}/${source}`).toBe(true)
      const built = source.replace('./src/', './dist/')
      expect(target).toMatchObject({ types: built.replace(/ts$/, 'd.ts'), default: built.replace(/ts$/, 'js') })
    }
  })

  test('a plugin is named as its folder', () => {
    for (const { folder, manifest } of all.filter(pkg => layer(pkg) === 'plugin')) {
      expect(manifest.name).toBe(`@posthorn/plugin-${posix.basename(folder)}`)
    }
  })

  test('tsc -b builds each package, after those it uses', () => {
    const references = (path: string) =>
      (JSON.parse(readFileSync(join(root, path), 'utf8')) as { references?: { path: string }[] }).references ?? []
    const built = references('tsconfig.json').map(({ path }) => posix.normalize(path))
    expect(built).toEqual(expect.arrayContaining(all.map(({ folder }) => folder)))
    for (const { folder, manifest } of all) {
      const uses = Object.keys(manifest.dependencies ?? {}).filter(ours)
      const expected = all.filter(pkg => uses.includes(pkg.manifest.name)).map(pkg => pkg.folder)
      const actual = references(`${folder}/tsconfig.json`).map(({ path }) => posix.join(folder, path))
      expect(actual.sort(), `${folder}/tsconfig.json`).toEqual(expected.sort())
    }
  })
})

describe('each file', () => {
  /** Longer than 400 lines for a reason that a reader accepts. Path and reason. */
  const long: Record<string, string> = {}

  test('has at most 400 lines', () => {
    const lines = ({ text }: SourceFile) => text.split('\n').length - 1
    const wrong = src.filter(file => lines(file) > 400 && !(file.path in long))
    expect(wrong.map(file => `${file.path}: ${lines(file)}`)).toEqual([])
    expect(Object.keys(long).filter(path => !src.some(file => file.path === path && lines(file) > 400))).toEqual([])
  })

  test('is named by the concept that it owns', () => {
    const vague = /(^|[-/])(utils?|helpers?|types?|manager|misc|common|base|impl)\.(test\.)?ts$/
    const wrong = everything.filter(({ path }) => vague.test(path) || !/^[a-z0-9./-]+$/.test(path))
    expect(wrong.map(({ path }) => path)).toEqual([])
  })

  test('is finished', () => {
    const marker = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'XX' + 'X', 'HA' + 'CK'].join('|')})\\b`)
    expect(places(everything, ({ text }) => text.match(marker)?.slice(0, 1) ?? [])).toEqual([])
  })

  test('runs on any machine: no path of ours outside the clone', () => {
    const outside = new RegExp(['(?<![\\w.])/wo' + 'rk/', '\\.\\./sha' + 'red/'].join('|'))
    expect(places(everything, ({ text }) => text.match(outside) ?? [])).toEqual([])
  })

  test('cites only RFCs that docs/rfc.tsv knows', () => {
    const known = new Set(rfcs().map(([number]) => number))
    const cited = (text: string) => Array.from(text.matchAll(/\bRFC[ -]?(\d{3,5})\b/g), match => match[1] as string)
    expect(places(everything, ({ text }) => [...new Set(cited(text))].filter(rfc => !known.has(rfc)))).toEqual([])
  })

  test('imports type-stripped TypeScript by its full name', () => {
    const short = (name: string) => /^\.\.?\//.test(name) && !/\.(ts|js|json)$/.test(name)
    expect(places(everything, ({ imports }) => imports.filter(short))).toEqual([])
  })
})

describe('the core', () => {
  const core = (all.find(pkg => layer(pkg) === 'core') as Package).src
  const uses = (pattern: RegExp, ...except: readonly string[]) =>
    places(
      core.filter(({ path }) => !except.includes(path)),
      ({ code }) => code.match(pattern)?.slice(0, 1) ?? [],
    )

  test('makes no signal or race per call: they cost more than half of the throughput', () => {
    expect(uses(/\bAbortSignal\.(timeout|any)\b|\bPromise\.race\b/)).toEqual([])
  })

  test('has one source of time, the injected clock', () => {
    expect(uses(/\b(Date\.now|performance\.now|set(Timeout|Interval))\(/, 'packages/core/src/clock.ts')).toEqual([])
  })

  test('no library prints: there is a log', () => {
    const libraries = all.filter(pkg => layer(pkg) !== 'cli').flatMap(pkg => pkg.src)
    expect(places(libraries, ({ code }) => code.match(/\bconsole\.\w+/)?.slice(0, 1) ?? [])).toEqual([])
  })
})

describe('docs/rfc.tsv', () => {
  test('is sorted, each number once, each status one that we know', () => {
    const rows = rfcs()
    const numbers = rows.map(([number]) => Number(number))
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b))
    for (const row of rows) {
      expect(row.length, row.join(' ')).toBe(4)
      expect(['done', 'partly', 'planned', 'cited', 'refused'], row.join(' ')).toContain(row[1])
    }
  })

  test('what is done or partly done is cited in a source file', () => {
    const text = src.map(file => file.text).join('\n')
    const uncited = rfcs().filter(
      ([number, status]) => /done|partly/.test(status as string) && !new RegExp(`\\bRFC[ -]?${number}\\b`).test(text),
    )
    expect(uncited.map(row => row.slice(0, 3).join(' '))).toEqual([])
  })
})

/** number, status, title, note */
function rfcs(): readonly (readonly string[])[] {
  return readFileSync(join(root, 'docs/rfc.tsv'), 'utf8')
    .split('\n')
    .slice(1, -1)
    .map(line => line.split('\t'))
}

test('package-lock.json names the optional packages of every platform, else npm ci refuses it', () => {
  type Lock = { packages: Record<string, { optionalDependencies?: Record<string, string> }> }
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as Lock
  const wanted = Object.values(packages).flatMap(entry => Object.keys(entry.optionalDependencies ?? {}))
  expect(wanted.filter(name => !Object.keys(packages).some(path => path.endsWith(`node_modules/${name}`)))).toEqual([])
})

describe('the reader of imports that these tests rest on', () => {
  test.each([
    [`import x from 'a'`, ['a']],
    [`import type { X } from "@s/b/c"`, ['@s/b/c']],
    [`import {\n  a,\n  b,\n} from './c.ts'`, ['./c.ts']],
    [`import 'side-effect'`, ['side-effect']],
    [`export * from 'e'\nexport { f } from 'g'`, ['e', 'g']],
    [`const m = await import('h')`, ['h']],
    [`// import x from 'not'\n/* import y from 'nor' */`, []],
    [`export const url = 'https://x.test'`, []],
    [`export function f() {\n  return 'text'\n}`, []],
  ])('%j', (text, expected) => {
    expect(importsOf(text)).toEqual(expected)
  })
})
