import { password as ask, isCancel } from '@clack/prompts'
import { hashPassword } from '@posthorn/core'
import { exit, usageError } from '../failure.ts'
import type { Io } from '../io.ts'
import type { Common } from '../program.ts'

export async function passwd(io: Io, options: Common): Promise<number> {
  const hash = await hashPassword(await readPassword(io))
  io.out(options.json ? JSON.stringify({ hash }) : hash)
  return exit.ok
}

/** A password typed twice at the terminal, or the first line of standard input. Never an argument: others see those. */
async function readPassword(io: Io): Promise<string> {
  const text = io.interactive ? await asked() : ((await io.input()).toString('utf8').split(/\r?\n/)[0] ?? '')
  if (text === '') throw usageError('no password was given', 'Type one, or pipe it in: echo secret | posthorn passwd')
  return text
}

async function asked(): Promise<string> {
  const first = await ask({ message: 'Password' })
  if (isCancel(first)) return ''
  const second = await ask({ message: 'Once more' })
  if (first !== second) throw usageError('the two are not the same')
  return first
}
