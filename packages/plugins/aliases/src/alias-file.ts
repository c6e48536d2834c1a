// Alias files as Postfix and sendmail have them: aliases(5), and virtual(5) with a space for the colon. Deliveries to
// files and commands are refused: who may write the file would decide what runs here.
import { readFileSync, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { PosthornError } from '@posthorn/core'

export type Format = 'aliases' | 'virtual'

/** One line: what stands for what. `at`: `file:line`. */
export interface Line {
  readonly at: string
  readonly name: string
  readonly members: readonly string[]
}

const maxSize = 16 * 2 ** 20
/** Includes within includes. */
const maxDepth = 5

/** The lines of a file, its includes read. Throws POSTHORN_ALIASES_FILE, which names file and line. */
export function readAliases(file: string, format: Format): readonly Line[] {
  const split = format === 'aliases' ? named : spaced
  return logical(contents(file)).map(({ text, line }) => {
    const at = `${file}:${line}`
    const found = split(text)
    if (found === undefined) {
      throw wrong(at, `expected \`${format === 'aliases' ? 'name: address, address' : 'address  address, address'}\``)
    }
    const members = words(found.value, format === 'virtual', at).flatMap(word => included(word, file, at, 1))
    if (members.length === 0) throw wrong(at, `${found.name} stands for nobody`)
    return { at, name: found.name, members }
  })
}

/** `member` refused where it is a file or a command. Undefined: nobody (`/dev/null`). */
export function addressOf(member: string, at: string): string | undefined {
  if (member === '/dev/null') return undefined
  if (/^[|/]/.test(member)) {
    throw wrong(at, `${member.startsWith('|') ? 'a command' : 'a file'} cannot get mail here: ${member}`)
  }
  // `\anna` is anna herself. A name that stands for itself is not looked up again.
  return member.startsWith('\\') ? member.slice(1) : member
}

export function wrong(at: string, what: string, cause?: unknown): PosthornError {
  return new PosthornError('POSTHORN_ALIASES_FILE', `${at}: ${what}`, {
    fix: 'Correct the line, and reload.',
    ...(cause === undefined ? {} : { cause }),
  })
}

function contents(file: string): string {
  try {
    const { size } = statSync(file)
    if (size > maxSize) throw wrong(file, `more than ${maxSize} octets`)
    return readFileSync(file, 'utf8')
  } catch (error) {
    if (error instanceof PosthornError) throw error
    throw wrong(file, `cannot be read: ${(error as NodeJS.ErrnoException).code}`, error)
  }
}

/** Lines with what continues them: it begins with a space. Comments and empty lines end nothing. */
function logical(text: string): readonly { readonly text: string; readonly line: number }[] {
  const lines: { text: string; line: number }[] = []
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const content = raw.trim()
    if (content === '' || content.startsWith('#')) continue
    const last = lines.at(-1)
    if (/^\s/.test(raw) && last !== undefined) last.text += ` ${content}`
    else lines.push({ text: content, line: index + 1 })
  }
  return lines
}

function named(text: string): { name: string; value: string } | undefined {
  const [, quoted, plain, value] = /^(?:"((?:[^"\\]|\\.)*)"|([^:\s"]+))\s*:\s*(.*)$/s.exec(text) ?? []
  const name = quoted?.replace(/\\(.)/g, '$1') ?? plain
  return name === undefined || value === undefined ? undefined : { name, value }
}

function spaced(text: string): { name: string; value: string } | undefined {
  const [, name, value] = /^(\S+)\s+(.*)$/s.exec(text) ?? []
  return name === undefined || value === undefined ? undefined : { name, value }
}

/** Parted by commas, in virtual(5) by spaces too; a whole word may be in quotes, as commands are. */
function words(value: string, spaces: boolean, at: string): readonly string[] {
  const parts = value.match(spaces ? /(?:"(?:[^"\\]|\\.)*"|[^,\s"])+/g : /(?:"(?:[^"\\]|\\.)*"|[^,"])+/g) ?? []
  return parts
    .map(part => part.trim())
    .filter(part => part !== '')
    .map(part => {
      const word = /^"((?:[^"\\]|\\.)*)"$/.exec(part)?.[1]?.replace(/\\(.)/g, '$1') ?? part
      if (/[^\s"]\s+[^\s"]/.test(word) && !/["|]/.test(word)) throw wrong(at, `expected a comma in ${part}`)
      return word
    })
}

function included(word: string, file: string, at: string, depth: number): readonly string[] {
  const name = /^:include:\s*(.+)$/.exec(word)?.[1]
  if (name === undefined) return [word]
  if (depth > maxDepth) throw wrong(at, `more than ${maxDepth} includes in one another`)
  const list = resolve(dirname(file), name)
  return contents(list)
    .split(/\r?\n/)
    .flatMap((text, index) => {
      const here = `${list}:${index + 1}`
      const content = text.trim()
      if (content === '' || content.startsWith('#')) return []
      return words(content, false, here).flatMap(inner => included(inner, list, here, depth + 1))
    })
}
