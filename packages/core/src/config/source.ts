import { access, constants, readFile, stat } from 'node:fs/promises'
import { basename, dirname, extname, join, resolve } from 'node:path'
import { cosmiconfig } from 'cosmiconfig'
import { isMap, isPair, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'
import { importFresh } from '../boot/local.ts'
import { PosthornError } from '../errors.ts'
import { warnOfConfig } from './folder.ts'

/** A configuration as read, before anybody judged it. */
export interface Source {
  /** Absolute. */
  readonly file: string
  readonly value: unknown
  /** The line of the option at `path`, or of the nearest one above it; undefined where the format does not tell. */
  line(path: readonly PropertyKey[]): number | undefined
}

const names = ['ts', 'mts', 'js', 'mjs', 'yaml', 'yml', 'json'].map(extension => `posthorn.config.${extension}`)
const maxSize = 8 * 2 ** 20

/**
 * Finds the configuration: `posthorn.config.*` in `cwd`, or else in the folders above it.
 * @throws PosthornError POSTHORN_CONFIG_NOT_FOUND, POSTHORN_CONFIG_UNREADABLE
 */
export async function findConfig(cwd: string): Promise<string> {
  // The loaders only say "here": cosmiconfig would take a failing one for an absent file and go on upwards.
  const here = () => ({ found: true })
  const explorer = cosmiconfig('posthorn', {
    searchPlaces: names,
    stopDir: resolve('/'),
    cache: false,
    ignoreEmptySearchPlaces: false,
    loaders: Object.fromEntries([...names.map(name => [extname(name), here]), ['noExt', here]]),
  })
  const file = (await explorer.search(cwd))?.filepath
  const found = file !== undefined && names.includes(basename(file)) ? file : undefined
  await refuseShadowed(resolve(cwd), found)
  if (found === undefined) {
    throw new PosthornError(
      'POSTHORN_CONFIG_NOT_FOUND',
      `no posthorn.config.ts, .js, .yaml or .json in ${cwd} or above`,
      {
        fix: 'Run `posthorn init` to write one, or name one with --config.',
      },
    )
  }
  return found
}

/** An unreadable file must not make us take another one further up; a second one beside ours is said. */
async function refuseShadowed(cwd: string, found: string | undefined): Promise<void> {
  for (let folder = cwd; ; folder = dirname(folder)) {
    for (const name of names) {
      const file = join(folder, name)
      if (file === found || !(await isFile(file))) continue
      if (found !== undefined && folder === dirname(found)) {
        if (names.indexOf(name) > names.indexOf(basename(found))) {
          warnOfConfig(`${file} is not used: ${basename(found)} beside it comes first`)
          continue
        }
      }
      await access(file, constants.R_OK).catch(error => {
        throw unreadable(file, error)
      })
    }
    if (folder === (found === undefined ? resolve('/') : dirname(found))) return
  }
}

const isFile = (file: string) =>
  stat(file).then(
    entry => entry.isFile(),
    () => false,
  )

function unreadable(file: string, error: unknown): PosthornError {
  const code = (error as NodeJS.ErrnoException).code
  const why = code === 'ENOENT' ? 'does not exist' : code === 'EISDIR' ? 'is a folder' : `cannot be read (${code})`
  return new PosthornError('POSTHORN_CONFIG_UNREADABLE', `the configuration ${file} ${why}`, {
    fix: code === 'EACCES' ? 'Let the user that runs Posthorn read it.' : 'Name another one with --config.',
  })
}

/**
 * Reads a configuration file by its extension. TypeScript and JavaScript are imported anew, with what they import
 * from their own package; `generation` keeps the versions apart.
 * @throws PosthornError POSTHORN_CONFIG_UNREADABLE, POSTHORN_CONFIG_SYNTAX
 */
export async function readSource(file: string, generation: number, bases: readonly string[] = []): Promise<Source> {
  const extension = extname(file)
  if (/^\.[cm]?[jt]s$/.test(extension)) return readModule(file, generation, bases)
  if (extension !== '.json' && extension !== '.yaml' && extension !== '.yml') {
    throw new PosthornError('POSTHORN_CONFIG_UNREADABLE', `do not know how to read ${file}`, {
      fix: 'Use a name that ends in .ts, .js, .mjs, .yaml, .yml or .json.',
    })
  }
  const octets = await readFile(file).catch(error => {
    throw unreadable(file, error)
  })
  if (octets.length > maxSize) throw syntax(file, undefined, 'it is larger than 8 MiB')
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(octets)
  } catch {
    throw syntax(file, undefined, 'it is not UTF-8')
  }
  return parseText(file, text, extension === '.json')
}

async function readModule(file: string, generation: number, bases: readonly string[]): Promise<Source> {
  await access(file, constants.R_OK).catch(error => {
    throw unreadable(file, error)
  })
  let value: unknown
  try {
    value = await (await importFresh(file, generation, bases)).default
  } catch (error) {
    const { message, stack } = error instanceof Error ? error : new Error(String(error))
    const line = new RegExp(`${basename(file).replaceAll('.', '\\.')}(?:\\?g=\\d+)?:(\\d+)`).exec(stack ?? '')?.[1]
    throw syntax(file, line === undefined ? undefined : Number(line), message.split('\n')[0] ?? '', error)
  }
  // A file that exports nothing may be read as CommonJS, which then exports nothing but an empty object.
  if (value === undefined || isEmpty(value))
    throw syntax(
      file,
      undefined,
      value === undefined ? 'it has no default export' : 'its default export is missing or empty',
      undefined,
      'End it with `export default defineConfig({ … })`.',
    )
  return { file, value, line: () => undefined }
}

const isEmpty = (value: unknown) =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length === 0

function parseText(file: string, text: string, json: boolean): Source {
  const lines = new LineCounter()
  // Pretty errors would quote the text around the fault, secrets included.
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, strict: true, uniqueKeys: true })
  let value: unknown
  if (json) {
    const twice = document.errors.find(error => error.code === 'DUPLICATE_KEY')
    value = parseJson(file, text)
    if (twice !== undefined) throw syntax(file, lines.linePos(twice.pos[0]).line, 'an option is set twice')
  } else {
    const [first] = document.errors
    if (first !== undefined) throw syntax(file, lines.linePos(first.pos[0]).line, first.message.split('\n')[0] ?? '')
    try {
      value = document.toJS({ maxAliasCount: 100 })
    } catch (error) {
      throw syntax(file, undefined, (error as Error).message, error)
    }
  }
  if (value === null || value === undefined) throw syntax(file, undefined, 'it is empty')
  return { file, value, line: path => lineOf(document.contents, path, lines) }
}

function parseJson(file: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // The engine's message may quote the text around the fault, secrets included, instead of saying where it is.
    const good = text.slice(0, firstFault(text))
    const rest = text.slice(good.length)
    const found = rest === '' ? 'the end of the file' : /^[[\]{}:,'/]/.test(rest) ? `"${rest[0]}"` : undefined
    const why = found === undefined ? '' : `: ${found} is not expected here`
    const fix = /,\s*$/.test(good) && /^[\]}]/.test(rest) ? 'Drop the comma before it.' : undefined
    throw syntax(file, good.split('\n').length, `it is not valid JSON${why}`, undefined, fix)
  }
}

/** The length of the longest beginning of `text` that more text could make valid. */
function firstFault(text: string): number {
  let good = 0
  let bad = text.length + 1
  while (bad - good > 1) {
    const middle = (good + bad) >> 1
    if (isBeginning(text.slice(0, middle))) good = middle
    else bad = middle
  }
  return good
}

function isBeginning(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch (error) {
    const { message } = error as Error
    const position = /at position (\d+)/.exec(message)?.[1]
    return /end of JSON input|Unterminated string/.test(message) || Number(position) === text.length
  }
}

function lineOf(root: unknown, path: readonly PropertyKey[], lines: LineCounter): number | undefined {
  let node = root as Node | null
  let at = node?.range?.[0]
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find(
        item => isPair(item) && isScalar(item.key) && String(item.key.value) === String(part),
      )
      if (pair === undefined) break
      at = (pair.key as Node).range?.[0] ?? at
      node = pair.value as Node | null
    } else if (isSeq(node) && typeof part === 'number') {
      const item = node.items[part] as Node | undefined
      if (item === undefined) break
      at = item.range?.[0] ?? at
      node = item
    } else break
  }
  return at === undefined ? undefined : lines.linePos(at).line
}

function syntax(file: string, line: number | undefined, what: string, cause?: unknown, fix?: string): PosthornError {
  return new PosthornError('POSTHORN_CONFIG_SYNTAX', `the configuration cannot be read: ${what}`, {
    at: line === undefined ? file : `${file}:${line}`,
    cause,
    ...(fix === undefined ? {} : { fix }),
  })
}
