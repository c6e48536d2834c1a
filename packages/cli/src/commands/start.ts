import { existsSync } from 'node:fs'
import { join, relative } from 'node:path'
import { PosthornError } from '@posthorn/core'
import { ControlClient, type LoadedConfig, loadConfig, locateSocket } from '@posthorn/core/runtime'
import { type Demo, makeDemo } from '../demo.ts'
import { bases, commandName, version } from '../distribution.ts'
import { exit } from '../failure.ts'
import type { Io } from '../io.ts'
import { type Signals, untilStopped } from '../lifetime.ts'
import type { Common } from '../program.ts'
import { type Server, startServer } from '../server.ts'
import { table } from '../table.ts'

const processSignals: Signals = {
  on: (signal, listener) => process.on(signal, listener),
  off: (signal, listener) => process.off(signal, listener),
  exit: code => process.exit(code),
}

interface StartOptions extends Common {
  readonly demo?: boolean
}

export async function start(
  io: Io,
  options: StartOptions,
  run = startServer,
  signals = processSignals,
): Promise<number> {
  const begun = performance.now()
  let demo = options.demo && options.config === undefined && !hasConfig(io.cwd) ? await demoIn(io.cwd) : undefined
  const load = () => loadConfig(source(io, options, demo))
  let loaded: LoadedConfig | undefined
  const remember = async () => {
    loaded = await load()
    return loaded
  }
  const begin = async (left: number): Promise<Server> => {
    try {
      return await run({ load: remember, version })
    } catch (error) {
      // Somebody took a port since we looked for a free one.
      const taken = error instanceof PosthornError && error.code === 'POSTHORN_LISTEN_FAILED'
      if (demo === undefined || !taken || left === 0) throw error
      demo = await demoIn(io.cwd)
      return begin(left - 1)
    }
  }
  await untilStopped(
    () => begin(2),
    server => {
      const seconds = ((performance.now() - begun) / 1000).toFixed(1)
      if (options.json) io.out(JSON.stringify({ ready: true, version, pid: process.pid, addresses: server.addresses }))
      else if (demo !== undefined) io.out(demoLines(io, demo, seconds).join('\n'))
      else io.err(readyLines(server, loaded, seconds).join('\n'))
    },
    io,
    signals,
  )
  return exit.ok
}

const configNames = ['ts', 'mts', 'js', 'mjs', 'yaml', 'yml', 'json']
const hasConfig = (cwd: string) => configNames.some(extension => existsSync(join(cwd, `posthorn.config.${extension}`)))

function source(io: Io, options: StartOptions, demo: Demo | undefined) {
  const warn = (message: string) => io.err(`warning: ${message}`)
  if (demo !== undefined) return { bases, warn, inline: { value: demo.config, folder: io.cwd, name: 'the demo' } }
  return { cwd: io.cwd, bases, warn, ...(options.config === undefined ? {} : { file: options.config }) }
}

/** A demo for this folder, unless one is running here: a second would take other ports and then fail at the store. */
async function demoIn(cwd: string): Promise<Demo> {
  const socket = await locateSocket({ cwd }).catch(() => undefined)
  const running = socket === undefined ? undefined : await ControlClient.connect(socket).catch(() => undefined)
  if (running !== undefined) {
    running.close()
    throw new PosthornError('POSTHORN_CONTROL_BUSY', 'a demo is running in this folder already', {
      fix: 'Use it, or stop it first.',
    })
  }
  return makeDemo(cwd)
}

function readyLines(server: Server, loaded: LoadedConfig | undefined, seconds: string): string[] {
  const where = loaded?.file === undefined ? '' : `, configuration ${loaded.file}`
  return [
    `Posthorn ${version} is ready (${seconds} s)${where}.`,
    ...table(
      server.addresses.map(({ listener, address }) => [listener, address]),
      '  ',
    ),
  ]
}

function demoLines(io: Io, { data, account, ports, notes }: Demo, seconds: string): string[] {
  const folder = `${relative(io.cwd, data)}/`
  const us = commandName(io.env)
  const { user, password } = account
  const message = "printf 'From: %s\\r\\nSubject: Hello\\r\\n\\r\\nIt works.\\r\\n'"
  const curl = (port: number, from: string, more = '') =>
    `${message} ${from} | curl -sS smtp://127.0.0.1:${port}${more} --mail-from ${from} --mail-rcpt ${user} -T -`
  return [
    `Posthorn ${version} is ready (${seconds} s). Data in ${folder}, log in ${folder}posthorn.log. Ctrl-C stops it.`,
    ...notes.map(note => `  (${note})`),
    '',
    ...table(
      [
        ['mx', `127.0.0.1:${ports.mx}`, `takes mail for ${user}`],
        ['submission', `127.0.0.1:${ports.submission}`, `log in as ${user}, password ${password}`],
      ],
      '  ',
    ),
    '',
    'Try this, in another terminal:',
    '',
    `  ${us} send --to ${user}`,
    `  swaks --server 127.0.0.1:${ports.mx} --from you@example.org --to ${user}`,
    `  ${curl(ports.mx, 'you@example.org')}`,
    `  ${curl(ports.submission, user, ` --ssl-reqd -k -u ${user}:${password}`)}`,
    `  ${us} status`,
    `  ${us} queue list`,
    `  ${us} explain <id>        # the id after "queued as" in a reply`,
    `  ls ${folder}mail/example.test/demo/new`,
  ]
}
