// Reads Maildir folders: what a server delivered, as it lies there.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'

/** Every message in a Maildir's `new`, as text of octets (latin1), in no order. */
export function messagesIn(maildir: string): readonly string[] {
  const folder = join(maildir, 'new')
  return existsSync(folder) ? readdirSync(folder).map(name => readFileSync(join(folder, name), 'latin1')) : []
}

/** How many, without reading them. */
export const countIn = (maildir: string): number => {
  const folder = join(maildir, 'new')
  return existsSync(folder) ? readdirSync(folder).length : 0
}

/** Waits until `ready` holds; else fails with what `state` says. Interop tests watch other processes: they must poll. */
export async function until(
  ready: () => boolean | Promise<boolean>,
  state: () => string | Promise<string>,
  patience = 20_000,
): Promise<void> {
  const deadline = performance.now() + patience
  while (!(await ready())) {
    if (performance.now() > deadline) throw new Error(`after ${patience} ms: ${await state()}`)
    await wait(20)
  }
}

/** The messages of a Maildir as soon as there are `count`. */
export async function delivered(maildir: string, count: number, patience?: number): Promise<readonly string[]> {
  await until(
    () => countIn(maildir) >= count,
    () => `${countIn(maildir)} of ${count} messages in ${maildir}`,
    patience,
  )
  return messagesIn(maildir)
}

/** The header of a message, unfolded: `Received: from …` in one line. */
export const headerOf = (message: string): string =>
  (message.split(/\r?\n\r?\n/, 1)[0] as string).replace(/\r?\n[ \t]+/g, ' ')
