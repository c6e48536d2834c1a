import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { build, install, installThirdParty, type Pack, pack, sh, tsc } from './install.ts'
import { packages } from './packages.ts'

const all = packages()

/** Every door of every package: `@posthorn/core/client`. */
const doors = all.flatMap(({ manifest }) =>
  Object.keys(manifest.exports)
    .filter(name => !name.endsWith('.json'))
    .map(name => manifest.name + name.slice(1)),
)

let folder: string
let consumer: string
let packs: readonly Pack[]

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'posthorn-pack-'))
  consumer = join(folder, 'consumer')
  await build(join(folder, 'build'), all)
  packs = await pack(join(folder, 'build'), join(folder, 'packs'), all)
  await install(consumer, join(folder, 'packs'), packs, all)
  await installThirdParty(consumer, '@types/node')
  await installThirdParty(consumer, 'zod')
  await writeFile(join(consumer, 'package.json'), JSON.stringify({ name: 'consumer', type: 'module', private: true }))
}, 120_000)

afterAll(() => rm(folder, { recursive: true, force: true }))

test('every package is packed', () => {
  expect(packs.map(({ name }) => name).sort()).toEqual(all.map(({ manifest }) => manifest.name).sort())
})

describe.each(all)('$manifest.name', ({ manifest }) => {
  const files = () => packs.find(({ name }) => name === manifest.name)?.files ?? []

  test('packs what it needs and no more', () => {
    expect(files()).toEqual(expect.arrayContaining(['LICENSE', 'README.md', 'package.json']))
    expect(files().filter(path => !/^(dist|bin)\/|^(LICENSE|README\.md|package\.json)$/.test(path))).toEqual([])
    expect(files().filter(path => /tsbuildinfo|\.test\.|\.d\.ts\.map$/.test(path))).toEqual([])
  })

  test('packs what its exports and bin name', () => {
    const conditions = Object.values(manifest.exports).flatMap(target =>
      typeof target === 'string' ? [target] : [target.types, target.default],
    )
    for (const path of [...conditions, ...Object.values(manifest.bin ?? {})]) {
      expect(files()).toContain(path?.replace(/^\.\//, ''))
    }
  })
})

test('each door opens, in a folder of its own outside the repository', async () => {
  const lines = doors.map(door => `console.log('${door}', Object.keys(await import('${door}')).length)`)
  await writeFile(join(consumer, 'open.js'), lines.join('\n'))
  const said = await sh(process.execPath, ['open.js'], consumer)
  expect(
    said
      .trim()
      .split('\n')
      .map(line => line.split(' ')[0]),
  ).toEqual(doors)
})

test('the types are whole: a plugin compiles under strict TypeScript, our declarations checked too', async () => {
  const imports = doors.map((door, i) => `import * as door${i} from '${door}'\nexport { door${i} }`)
  await writeFile(
    join(consumer, 'plugin.ts'),
    `${imports.join('\n')}
import { definePlugin, reject, sessionState } from '@posthorn/core'
import * as z from 'zod'

export const seen = sessionState<number>('tarpit/seen')
export default definePlugin({
  name: 'tarpit',
  schema: z.strictObject({ refuse: z.string().default('spam.test') }),
  setup: (_ctx, options) => ({
    mail(tx, from) {
      tx.prepend('X-Tarpit', 'seen')
      if (from?.domain === options.refuse) return reject(550, '5.7.1', 'Not from you')
      return
    },
    // @ts-expect-error a gate cannot accept: if this compiles, the types have been lost on the way
    helo: () => 'accept',
  }),
})
`,
  )
  const compilerOptions = {
    strict: true,
    exactOptionalPropertyTypes: true,
    noEmit: true,
    target: 'es2024',
    lib: ['es2024', 'esnext.disposable'],
    module: 'nodenext',
    types: ['node'],
    skipLibCheck: false,
  }
  await writeFile(join(consumer, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['plugin.ts'] }))
  const said = await sh(process.execPath, [tsc, '-p', '.', '--pretty', 'false'], consumer).catch(String)
  // Declarations of third parties are checked by skipLibCheck too; those are for them to mend.
  const ours = said.split('\n').filter(line => /^(plugin\.ts|\.store\/.*)\(\d+,\d+\): error/.test(line))
  expect(ours).toEqual([])
})

test('posthorn --version says the version of its package', async () => {
  const cli = all.find(({ manifest }) => manifest.name === 'posthorn')
  const said = await sh(process.execPath, ['node_modules/posthorn/bin/posthorn.js', '--version'], consumer)
  expect(said.trim()).toBe(cli?.manifest.version)
})
