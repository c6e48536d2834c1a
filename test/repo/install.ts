// Builds the workspace's packages from a copy, packs them, and installs the packs in an empty folder outside the
// repository: no network, strict as pnpm (a package finds what it declares and nothing else).

import { execFile } from 'node:child_process'
import { cp, mkdir, readdir, rename, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { type Package, root } from './packages.ts'

const run = promisify(execFile)
const bin = (...path: string[]) => join(root, 'node_modules', ...path)

/** Runs a program; a failure carries what it printed. */
export async function sh(file: string, args: readonly string[], cwd: string, more: object = {}): Promise<string> {
  const env = {
    ...process.env,
    ...more,
    npm_config_offline: 'true',
    npm_config_update_notifier: 'false',
    NODE_OPTIONS: '',
  }
  try {
    return (await run(file, args, { cwd, env, maxBuffer: 1 << 26 })).stdout
  } catch (error) {
    const { stdout, stderr, message } = error as { stdout?: string; stderr?: string; message: string }
    throw new Error(`${message}\n${stdout ?? ''}${stderr ?? ''}`, { cause: error })
  }
}

/** Links every entry of node_modules but our own packages, which it links to the copies in `to`. */
async function linkDependencies(to: string, packages: readonly Package[]): Promise<void> {
  await mkdir(join(to, 'node_modules/@posthorn'), { recursive: true })
  const skip = new Set(['@posthorn', 'posthorn', '.cache', '.vite', '.vitest'])
  for (const name of await readdir(bin())) {
    if (!skip.has(name)) await symlink(bin(name), join(to, 'node_modules', name))
  }
  for (const { folder, manifest } of packages) {
    await symlink(join(to, folder), join(to, 'node_modules', manifest.name))
  }
}

/** A clean build in `to`, so that no stale file of a working copy's dist is packed, and nobody's build is disturbed. */
export async function build(to: string, packages: readonly Package[]): Promise<void> {
  const copied = new Set(['src', 'bin', 'package.json', 'tsconfig.json', 'README.md', 'LICENSE'])
  for (const { folder } of packages) {
    await mkdir(join(to, folder), { recursive: true })
    for (const name of await readdir(join(root, folder))) {
      if (copied.has(name)) await cp(join(root, folder, name), join(to, folder, name), { recursive: true })
    }
  }
  await cp(join(root, 'tsconfig.base.json'), join(to, 'tsconfig.base.json'))
  await linkDependencies(to, packages)
  await sh(process.execPath, [bin('typescript/bin/tsc'), '-b', ...packages.map(({ folder }) => folder)], to)
}

export interface Pack {
  readonly name: string
  readonly filename: string
  readonly files: readonly string[]
}

/** `npm pack` of every package built in `from`, into `to`. */
export async function pack(from: string, to: string, packages: readonly Package[]): Promise<readonly Pack[]> {
  await mkdir(to, { recursive: true })
  const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', to]
  const out = await sh('npm', [...args, ...packages.map(({ folder }) => `./${folder}`)], from)
  const packs = Object.values(JSON.parse(out)) as { name: string; filename: string; files: { path: string }[] }[]
  return packs.map(({ name, filename, files }) => ({ name, filename, files: files.map(({ path }) => path) }))
}

/**
 * Installs packs in the empty folder `to`: each in a place of its own, beside links to its declared dependencies only.
 * Third-party packages come from the repository's node_modules.
 */
export async function install(to: string, packs: string, list: readonly Pack[], packages: readonly Package[]) {
  const place = (name: string) => join(to, '.store', name.replace('/', '+'), 'node_modules', name)
  for (const { name, filename } of list) {
    await mkdir(dirname(place(name)), { recursive: true })
    await sh('tar', ['-xzf', join(packs, filename)], dirname(place(name)))
    await rename(join(dirname(place(name)), 'package'), place(name))
  }
  const ours = new Set(list.map(({ name }) => name))
  const link = async (name: string, beside: string) => {
    const at = join(beside, 'node_modules', name)
    await mkdir(dirname(at), { recursive: true })
    await symlink(ours.has(name) ? place(name) : bin(name), at)
  }
  for (const { manifest } of packages) {
    const { dependencies, peerDependencies, optionalDependencies } = manifest
    const beside = join(to, '.store', manifest.name.replace('/', '+'))
    for (const name of Object.keys({ ...dependencies, ...peerDependencies, ...optionalDependencies })) {
      await link(name, beside)
    }
    await link(manifest.name, to)
  }
}

/** A dependency of the consumer's own. */
export async function installThirdParty(to: string, name: string): Promise<void> {
  await mkdir(dirname(join(to, 'node_modules', name)), { recursive: true })
  await symlink(bin(name), join(to, 'node_modules', name))
}

export const tsc = bin('typescript/bin/tsc')
