import { Command } from 'commander'
import { type Action, commands, type Loaded } from './commands.ts'
import { version } from './distribution.ts'
import { exit, exitCodeOf, exitHelp, type Tell, tell } from './failure.ts'
import type { Io } from './io.ts'

/** Options that every command has. */
export interface Common extends Tell {
  readonly config?: string
}

/** Runs a command line; resolves with its exit code and never rejects. `args`: without node and script. */
export async function run(args: readonly string[], io: Io): Promise<number> {
  let code: number = exit.ok
  const program = build(io, (action, options, rest) =>
    action(io, options, ...rest).then(result => {
      code = result
    }),
  )
  try {
    await program.parseAsync(args, { from: 'user' })
    return code
  } catch (error) {
    tell(error, io, { json: args.includes('--json'), verbose: args.includes('--verbose') })
    return exitCodeOf(error)
  }
}

function build(io: Io, perform: (action: Action, options: Common, rest: unknown[]) => Promise<void>): Command {
  const program = new Command('posthorn')
    .description('A mail server made of plugins.')
    .version(version, '-V, --version')
    .exitOverride()
    .configureOutput({ writeOut: text => io.out(text.trimEnd()), writeErr: text => io.err(text.trimEnd()) })
    .configureHelp({ sortSubcommands: false })
    .addHelpText('after', `\n${exitHelp}`)
    .showSuggestionAfterError()

  const add = (parent: Command, name: string, description: string, load: Loaded): Command => {
    const command = parent.command(name).description(description)
    command.action((...all: unknown[]) => {
      // commander hands over arguments, then options, then the command.
      const options = all.at(-2) as Common
      return perform(async (...given) => (await load())(...given), options, all.slice(0, -2))
    })
    return command.option('--json', 'print JSON').option('--verbose', 'say more, and where errors come from')
  }
  const withConfig = (command: Command) =>
    command.option('-c, --config <file>', 'configuration; default: posthorn.config.* here or in a folder above')
  const withServer = (command: Command) =>
    withConfig(command).option('--socket <path>', "the server's control socket, if not the configuration's")

  add(program, 'init', 'Write a configuration: asks, or --yes for the defaults.', commands.init)
    .option('-y, --yes', 'do not ask')
    .option('--kind <kind>', 'server: keeps mail; gateway: passes it on to another server')
    .option('--format <format>', 'ts, yaml or json; default ts')
    .option('--hostname <name>', "this server's name")
    .option('--domain <domain>', 'a domain whose mail comes here')
    .option('--to <host:port>', 'gateway: the server behind it')
    .option('--force', 'overwrite a configuration that is there')
  withConfig(add(program, 'start', 'Run the server until SIGTERM or SIGINT; SIGHUP reloads.', commands.start)).option(
    '--demo',
    'without a configuration here, run a small one on loopback, data in .posthorn/',
  )
  withConfig(
    add(program, 'check', 'Validate the configuration and print what it would do; starts nothing.', commands.check),
  )
  withServer(
    add(
      program,
      'reload',
      'Make the running server take its configuration anew; an error changes nothing.',
      commands.reload,
    ),
  )
  withServer(add(program, 'status', 'Print what the running server does.', commands.status))
  withServer(add(program, 'send', 'Send a test message and follow it to its end.', commands.send))
    .option('--from <address>', 'sender; <> for none')
    .option('--to <address...>', 'recipients')
    .option('--subject <text>', 'subject', 'Test by posthorn send')
    .option('--text <text>', 'text of the message')
    .option('--file <eml>', 'a whole message instead; - for standard input')
    .option('--listener <name>', 'listener of the running server; default: its first without log-in')
    .option('--server <host:port>', 'another server instead')
    .option('--user <name>', 'log in; the password comes from POSTHORN_PASSWORD, or is asked for')
    .option('--tls <mode>', 'none, opportunistic, require or verify', 'opportunistic')
    .option('--no-follow', 'end when it was accepted')
    .option('--wait <duration>', 'how long to follow it', '60s')
  withServer(add(program, 'dns', 'Print the DNS records to publish for our domains, as a zone file.', commands.dns))
    .argument('[domain...]', 'default: all that are ours')
    .option('--check', 'compare with what is published; exit code 1 where it differs')
    .option('--address <ip...>', 'public addresses of this server, where it cannot know them')
  withServer(add(program, 'explain', 'Print why a message went where it went.', commands.explain)).argument(
    '<id>',
    'of a message, as in logs and replies',
  )
  const queue = program.command('queue').description('Look at the queue, and act on what is in it.')
  const filtered = (command: Command) =>
    withServer(command)
      .option('--lane <lane>', 'only this destination')
      .option('--state <state>', 'only due, sending, deferred or held')
      .option('--sender <address>', 'only from this sender or domain')
      .option('--recipient <address>', 'only to this recipient or domain')
      .option('--older <duration>', 'only those received at least this long ago: 2h')
  filtered(add(queue, 'list', 'List queued messages, oldest first.', commands.queueList)).option(
    '--limit <count>',
    'at most so many',
    '50',
  )
  withServer(
    add(queue, 'show', 'Print one queued message: envelope, recipients, attempts.', commands.queueShow),
  ).argument('<id>')
  const act = (kind: Parameters<typeof commands.queueAct>[0], description: string) =>
    filtered(add(queue, kind, description, commands.queueAct(kind)))
      .argument('[id]', 'one message; else all that match the filter')
      .option('--all', 'every message, where there is no filter')
  act('retry', 'Try again now.')
  act('hold', 'Keep back until released; the time does not count.').option('--reason <text>', 'for the trace')
  act('release', 'Deliver what was held.')
  act('bounce', 'Give up now and tell the sender.').option('--reason <text>', 'for the trace and the report')
  act('delete', 'Remove, telling nobody.')
  act('reroute', 'Ask for the route again, or pin it with --to.').option(
    '--to <plugin[/lane]>',
    'a delivery plugin, or one lane of it',
  )
  withServer(add(queue, 'lanes', 'Print every destination: what it does, and why not more.', commands.queueLanes))
  withServer(add(queue, 'pause', 'Deliver nothing of a lane until it is resumed.', commands.queuePause))
    .argument('<lane>', 'as `queue lanes` names it')
    .option('--reason <text>', 'for the lane table')
  withServer(add(queue, 'resume', 'Deliver a paused lane again.', commands.queueResume)).argument(
    '<lane>',
    'as `queue lanes` names it',
  )
  withConfig(
    add(program, 'fsck', 'Check the store of a stopped server: what is wrong, and what to do.', commands.fsckStore),
  )
    .option('--repair', 'quarantine what cannot be read, write what can be rebuilt')
    .option('--quick', 'do not read every octet of large messages')
  withServer(
    add(program, 'backup', 'Copy the store of the running server, consistently.', commands.backupStore),
  ).argument('<folder>', 'empty or absent; point `data` at it to restore')
  const dkim = program.command('dkim').description('Keys that sign what we send.')
  for (const [name, description, rotate] of [
    ['generate', 'Make keys for a domain and print the records to publish.', false],
    ['rotate', 'Make keys that sign from the next reload on; the old ones stay published a while.', true],
  ] as const) {
    withConfig(add(dkim, name, description, commands.dkimMake(rotate)))
      .argument('<domain>')
      .option('--selector <name>', 'default: the date')
      .option('--algorithm <name>', 'rsa, ed25519 or both', 'both')
  }
  withConfig(add(dkim, 'list', 'List keys and what they do.', commands.dkimList)).argument('[domain]')
  add(program, 'passwd', 'Print the hash of a password, for the plugin users.', commands.passwd)
  return program
}
