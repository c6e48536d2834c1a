import { existsSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { hostname as machineName } from 'node:os'
import { join } from 'node:path'
import { cancel, group, intro, select, text } from '@clack/prompts'
import { parseEndpoint } from '@posthorn/core/client'
import { canonicalDomain } from '@posthorn/mail'
import { exit, usageError } from '../failure.ts'
import type { Io } from '../io.ts'
import type { Common } from '../program.ts'
import { type Answers, type Format, render } from '../template.ts'

interface InitOptions extends Common {
  readonly yes?: boolean
  readonly kind?: string
  readonly format?: string
  readonly hostname?: string
  readonly domain?: string
  readonly to?: string
  readonly force?: boolean
}

const formats: readonly Format[] = ['ts', 'yaml', 'json']

export async function init(io: Io, options: InitOptions): Promise<number> {
  const format = formats.find(name => name === (options.format ?? 'ts'))
  if (format === undefined) throw usageError(`--format wants one of ${formats.join(', ')}`)
  const present = [...formats, 'yml', 'js', 'mjs', 'mts']
    .map(ext => join(io.cwd, `posthorn.config.${ext}`))
    .find(file => existsSync(file))
  if (present !== undefined && !options.force) {
    throw usageError(`${present} is there already`, 'Say --force to write a new one, or edit it.')
  }
  if (!options.yes && !io.interactive) {
    throw usageError('there is nobody to ask', 'Say --yes, with --hostname, --domain and --kind as needed.')
  }
  const answers = options.yes ? defaults(options) : await ask(defaults(options))
  if (answers === undefined) return exit.usage
  validate(answers)
  const file = join(io.cwd, `posthorn.config.${format}`)
  // `wx`: whatever appeared since we looked is not overwritten.
  await writeFile(file, render(answers, format), { flag: options.force ? 'w' : 'wx' })
  if (options.json) io.out(JSON.stringify({ file, ...answers }))
  else {
    io.out(`Wrote ${file}.`)
    if (present !== undefined && present !== file)
      io.out(`Remove ${present}: two configurations in one folder confuse.`)
    io.out('Next: posthorn check, then posthorn start.')
  }
  return exit.ok
}

function defaults({ kind, hostname, domain, to }: InitOptions): Answers {
  const name = hostname ?? (domain === undefined ? machineName() : `mail.${domain}`)
  return {
    kind: (kind ?? (to === undefined ? 'server' : 'gateway')) as Answers['kind'],
    hostname: name,
    domain: domain ?? /^[^.]+\.(.+\..+)$/.exec(name)?.[1] ?? (name.includes('.') ? name : 'example.test'),
    to: to ?? '127.0.0.1:10025',
  }
}

function validate({ kind, hostname, domain, to }: Answers): void {
  if (kind !== 'server' && kind !== 'gateway') throw usageError('--kind wants server or gateway')
  if (canonicalDomain(hostname) === undefined) throw usageError(`${JSON.stringify(hostname)} is not a host name`)
  if (canonicalDomain(domain) === undefined) throw usageError(`${JSON.stringify(domain)} is not a domain`)
  if (parseEndpoint(to, 25) === undefined) throw usageError(`${JSON.stringify(to)} is not a host:port`)
}

async function ask(given: Answers): Promise<Answers | undefined> {
  intro('A configuration for Posthorn')
  let ended = false
  const wrong = (what: string) => (value: string | undefined) =>
    canonicalDomain(value || 'example.org') === undefined ? `not a ${what}` : undefined
  const answers = await group(
    {
      kind: () =>
        select<Answers['kind']>({
          message: 'What is it for?',
          initialValue: given.kind,
          options: [
            { value: 'server', label: 'Mail server', hint: 'keeps the mail of its users' },
            { value: 'gateway', label: 'Gateway', hint: 'passes mail on to a server that exists' },
          ],
        }),
      hostname: () =>
        text({
          message: 'Its name',
          placeholder: given.hostname,
          defaultValue: given.hostname,
          validate: wrong('host name'),
        }),
      domain: () =>
        text({
          message: 'Whose mail comes here?',
          placeholder: given.domain,
          defaultValue: given.domain,
          validate: wrong('domain'),
        }),
      to: ({ results }) =>
        results.kind === 'gateway'
          ? text({ message: 'The server behind it', placeholder: given.to, defaultValue: given.to })
          : Promise.resolve(given.to),
    },
    {
      onCancel: () => {
        ended = true
      },
    },
  )
  if (!ended) return { ...answers, to: answers.to as string }
  cancel('Nothing was written.')
  return undefined
}
