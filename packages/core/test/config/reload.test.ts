// What a reload reads again, in a process of its own: Node's module cache is what is tested.
import { execFile } from 'node:child_process'
import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { folderOf } from './folder.ts'

const core = fileURLToPath(new URL('../..', import.meta.url))

const plugin = `
import { definePlugin, PosthornError } from '@posthorn/core'
import { word } from './helper.ts'
import { count } from 'somewhere'
import { shared } from '../workspace/index.ts'
export default definePlugin({
  name: word + '-' + count + '-' + shared,
  schema: { '~standard': { version: 1, vendor: 'test', validate: (value: unknown) => ({ value }) } },
  setup: () => ({}),
  core: PosthornError,
} as never)
`

const script = `
import { writeFileSync } from 'node:fs'
import { loadConfig } from ${JSON.stringify(join(core, 'src/boot/load.ts'))}
import { PosthornError } from ${JSON.stringify(join(core, 'src/errors.ts'))}
const load = async () => {
  const { config, plugins } = await loadConfig({ cwd: '.' })
  const { plugin } = plugins[0] as any
  return [config.hostname, plugin.name, plugin.core === PosthornError]
}
const write = (n: number) => {
  writeFileSync('names.ts', 'export const hostname: string = "mx' + n + '.example"')
  writeFileSync('mine/deep/word.ts', 'export const word: string = "w' + n + '"')
  writeFileSync('node_modules/somewhere/index.js', 'export const count = ' + n)
  writeFileSync('workspace/index.ts', 'export const shared: number = ' + n)
}
const seen = []
for (const n of [1, 2, 3]) {
  write(n)
  seen.push(await load())
}
writeFileSync('mine/deep/word.ts', 'export const word = {{')
seen.push(await load().catch(error => error.errors[0].message.replace(/:.*/, '')))
write(4)
seen.push(await load())
console.log(JSON.stringify(seen))
`

it('reads the config, a local plugin and all their own files again, and no package', async () => {
  const folder = folderOf({
    'package.json': '{"name":"site","type":"module"}',
    'posthorn.config.ts': `
      import { defineConfig } from '@posthorn/core'
      import { hostname } from './names.ts'
      export default defineConfig({ hostname, listeners: { mx: { listen: 0 } }, plugins: ['./mine'] })
    `,
    'names.ts': '',
    'mine/index.ts': plugin,
    'mine/helper.ts': "export { word } from './deep/word.ts'",
    'mine/deep/word.ts': '',
    'node_modules/somewhere/package.json': '{"name":"somewhere","type":"module","exports":"./index.js"}',
    'node_modules/somewhere/index.js': '',
    'workspace/package.json': '{"name":"workspace","type":"module"}',
    'workspace/index.ts': '',
    'run.ts': script,
  })
  mkdirSync(join(folder, 'node_modules/@posthorn'))
  symlinkSync(core, join(folder, 'node_modules/@posthorn/core'))
  const args = ['--conditions=@posthorn/source', 'run.ts']
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: folder })
  expect(JSON.parse(stdout)).toEqual([
    ['mx1.example', 'w1-1-1', true],
    ['mx2.example', 'w2-1-1', true],
    ['mx3.example', 'w3-1-1', true],
    'the plugin "./mine" failed to load',
    ['mx4.example', 'w4-1-1', true],
  ])
})
