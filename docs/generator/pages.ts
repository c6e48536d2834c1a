// The pages of docs/reference, made from what the code runs by: schemas, stages, errors and the command line itself.

import { globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { ZodType } from 'zod'
import { run } from '../../packages/cli/src/program.ts'
import { configSchema } from '../../packages/core/src/config/schema.ts'
import { knownErrors } from './errors.ts'
import { optionsTable, table } from './options.ts'
import { kindsTable, stagesTable } from './stages.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const made = 'Made by `npm run docs` from the code. Changes belong there.'

interface PluginModule {
  readonly default: { readonly name: string; readonly schema: ZodType }
}

async function plugins(): Promise<string> {
  const parts = globSync('packages/plugins/*/src/index.ts', { cwd: root })
    .sort()
    .map(async path => {
      const folder = dirname(dirname(path))
      const manifest = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as Record<string, string>
      const { name, description } = manifest
      const { name: short, schema } = ((await import(pathToFileURL(join(root, path)).href)) as PluginModule).default
      const readme = `../../${folder}/README.md`
      return `## ${short}\n\n${description} Package [${name}](${readme}).\n\n${optionsTable(schema)}`
    })
  return `# Plugins\n\n${made}\n\n${(await Promise.all(parts)).join('\n\n')}\n`
}

/** What a command prints at --help; commands that have some of their own give theirs after it. */
async function help(...command: string[]): Promise<string> {
  const lines: string[] = []
  const io = {
    cwd: root,
    env: { COLUMNS: '100' },
    interactive: false,
    out: (line: string) => void lines.push(line),
    err: (line: string) => void lines.push(line),
    input: () => Promise.resolve(Buffer.alloc(0)),
  }
  await run([...command, '--help'], io)
  const text = lines.join('\n')
  const title = `${'#'.repeat(Math.min(command.length, 2) + 1)} posthorn ${command.join(' ')}`.trimEnd()
  const below = Array.from(text.match(/^Commands:\n((?: {2}.*\n?)*)/m)?.[1]?.matchAll(/^ {2}(\w+)/gm) ?? [], m => m[1])
  const parts = below
    .filter(name => name !== undefined && name !== 'help')
    .map(name => help(...command, name as string))
  return [`${title}\n\n\`\`\`\n${text}\n\`\`\``, ...(await Promise.all(parts))].join('\n\n')
}

const errors = () =>
  table(
    ['code', 'what it says', 'what to do'],
    knownErrors(root).map(({ code, message, fix }) => [`\`${code}\``, message ?? 'as the case is', fix ?? '']),
  )

/** Every page by its name in docs/reference. */
export async function pages(): Promise<Readonly<Record<string, string>>> {
  return {
    'config.md': `# Configuration\n\n${made} In words: [the guide](../guide/configuration.md).\n\n${optionsTable(configSchema)}\n`,
    'plugins.md': await plugins(),
    'hooks.md': `# Stages and hooks\n\n${made} In words: [the guide](../guide/plugins.md).\n\n${kindsTable()}\n\n${stagesTable(root)}\n`,
    'errors.md': `# Errors\n\n${made} \`…\` stands for what differs from case to case.\n\n${errors()}\n`,
    'cli.md': `${(await help()).replace('\n\n', `\n\n${made}\n\n`)}\n`,
  }
}
