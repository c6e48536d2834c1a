import { processIo } from './io.ts'
import { run } from './program.ts'

/** Runs the command line of this process; called by bin/posthorn.js. */
export async function main(): Promise<void> {
  process.exitCode = await run(process.argv.slice(2), processIo())
}
