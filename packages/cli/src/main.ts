import { exit } from './failure.ts'
import { processIo } from './io.ts'
import { run } from './program.ts'

/** Runs the command line of this process; called by bin/posthorn.js. */
export async function main(): Promise<void> {
  // Nobody knows what state is left after a fault that nobody caught: the supervisor starts anew. Here the stack is all
  // that whoever looks for the fault will have.
  process.on('uncaughtException', error => {
    process.stderr.write(`posthorn: a fault inside Posthorn, ending: ${error?.stack ?? error}\n`)
    process.exit(exit.internal)
  })
  process.exitCode = await run(process.argv.slice(2), processIo())
}
