// A disk that remembers what was written and what was synced, built from recorded calls; and what may be left of it when
// the power goes. Modelled: README.md says what, and what not.
import { type Dirent, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Call } from './strace.ts'

interface Write {
  readonly begin: number
  readonly end: number
  readonly offset: number
  readonly octets: Buffer
}

interface Inode {
  readonly folder: boolean
  readonly writes: Write[]
  readonly syncs: { readonly begin: number; readonly end: number }[]
  /** Where the next write goes that names no place. */
  cursor: number
  size: number
}

/** A change of names: `to` gets the inode, `from` has none any more. */
interface Naming {
  readonly at: number
  readonly from?: string
  readonly to?: string
  readonly inode: Inode
}

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/'))

export class Disk {
  readonly #root: string
  readonly #names = new Map<string, Inode>()
  readonly #namings: Naming[] = []
  /** Paths in calls that the death of the process cut short: nobody can say whether they took place. */
  readonly #unsure = new Set<string>()

  /** The folder as it is now is on the disk for sure. */
  constructor(root: string) {
    this.#root = root
    this.#names.set(root, inode(true))
    this.#load('')
  }

  #load(below: string): void {
    const entries: Dirent[] = readdirSync(join(this.#root, below), { withFileTypes: true })
    for (const entry of entries) {
      const name = join(below, entry.name)
      const path = join(this.#root, name)
      if (!entry.isDirectory() && !entry.isFile()) continue
      const made = inode(entry.isDirectory())
      if (entry.isFile()) {
        const octets = readFileSync(path)
        made.writes.push({ begin: -1, end: -1, offset: 0, octets })
        made.syncs.push({ begin: 0, end: 0 })
        made.size = octets.length
      }
      this.#name({ at: -1, to: path, inode: made })
      if (made.folder) this.#load(name)
    }
  }

  /** Takes the next call in; calls come in the order in which they began. */
  apply(call: Call): void {
    const { name, args, octets, path, begin, end, result } = call
    if (end === Infinity) for (const one of [path, ...octets.slice(0, 2).map(pathIn)]) this.#unsure.add(one)
    if (name === 'openat') this.#open(call)
    else if (name.startsWith('fsync') || name.startsWith('fdatasync')) {
      if (result === 0) this.#names.get(path)?.syncs.push({ begin, end })
    } else if (/^p?write/.test(name)) {
      const file = this.#names.get(path)
      if (file === undefined || result < 0) return
      const place = name.startsWith('pwrite') ? placeIn(name, args) : file.cursor
      const all = Buffer.concat(octets).subarray(0, Number.isNaN(result) ? undefined : result)
      file.writes.push({ begin, end, offset: place, octets: all })
      file.size = Math.max(file.size, place + all.length)
      if (!name.startsWith('pwrite')) file.cursor += all.length
    } else if (result !== 0) return
    else if (name.startsWith('rename')) this.#rename(end, pathIn(octets[0]), pathIn(octets[1]))
    else if (name.startsWith('link')) {
      const found = this.#names.get(pathIn(octets[0]))
      if (found !== undefined) this.#name({ at: end, to: pathIn(octets[1]), inode: found })
    } else if (name.startsWith('unlink') || name === 'rmdir') {
      const from = pathIn(octets[0])
      const found = this.#names.get(from)
      if (found !== undefined) this.#name({ at: end, from, inode: found })
    } else if (name.startsWith('mkdir')) this.#name({ at: end, to: pathIn(octets[0]), inode: inode(true) })
    else if (name.endsWith('truncate')) throw new Error('the model knows no truncation but at opening')
  }

  #open({ args, octets, end, result }: Call): void {
    if (!(result >= 0) || !/O_(WRONLY|RDWR)/.test(args)) return
    const path = pathIn(octets[0])
    const known = this.#names.get(path)
    if (known === undefined) {
      this.#name({ at: end, to: path, inode: inode(false) })
      return
    }
    known.cursor = args.includes('O_APPEND') ? known.size : 0
    // A file that was there is emptied: to the model that is another file of this name.
    if (args.includes('O_TRUNC') && known.size > 0) this.#name({ at: end, to: path, inode: inode(false) })
  }

  #rename(at: number, from: string, to: string): void {
    const found = this.#names.get(from)
    if (found === undefined) return
    if (found.folder) throw new Error('the model renames no folders')
    this.#name({ at, from, to, inode: found })
  }

  #name(naming: Naming): void {
    if (naming.from !== undefined) this.#names.delete(naming.from)
    if (naming.to !== undefined) this.#names.set(naming.to, naming.inode)
    this.#namings.push(naming)
  }

  /** Builds below `target` what may be left when the power goes after the call that began or returned at `cut`. */
  rebuild(target: string, cut: number, random: () => number): void {
    for (const [path, file] of this.#survivors(cut, random)) {
      const place = join(target, path.slice(this.#root.length))
      // Entries come in order, so a folder that was lost takes along what was in it.
      if (file.folder) mkdirSync(place, { recursive: true, mode: 0o700 })
      else writeFileSync(place, contents(file, cut, random))
    }
  }

  /** Where the model and the folder are not the same, when nothing was lost: a call that it does not understand. */
  differences(): string[] {
    const wrong: string[] = []
    for (const [path, file] of this.#names) {
      if (this.#unsure.has(path)) continue
      if (!existsSync(path)) wrong.push(`${path} is not there`)
      else if (!file.folder && !readFileSync(path).equals(whole(file))) wrong.push(`${path} has other octets`)
    }
    return wrong
  }

  #survivors(cut: number, random: () => number): [string, Inode][] {
    const names = new Map<string, Inode>([[this.#root, this.#names.get(this.#root) as Inode]])
    const before = this.#namings.filter(naming => naming.at <= cut)
    // Journals keep the order of names: a first part of them survives, and beyond it what was synced.
    const chance = random()
    const journal =
      chance < 0.4
        ? before.length - Math.floor(random() * Math.min(before.length + 1, 6))
        : chance < 0.7
          ? Math.floor(random() * (before.length + 1))
          : 0
    for (const [i, naming] of before.entries()) {
      if (naming.at >= 0 && i >= journal && !this.#durable(naming, cut)) continue
      if (naming.from !== undefined && names.get(naming.from) === naming.inode) names.delete(naming.from)
      if (naming.to !== undefined) names.set(naming.to, naming.inode)
    }
    const kept = [...names].sort(([a], [b]) => (a < b ? -1 : 1))
    return kept.filter(([path]) => path === this.#root || names.has(parentOf(path)))
  }

  /** By a sync of its folder; a file's name by a sync of the file too, as ext4, xfs and btrfs do. */
  #durable({ at, from, to, inode: named }: Naming, cut: number): boolean {
    const synced = (one: Inode | undefined) => one?.syncs.some(({ begin, end }) => begin > at && end <= cut) === true
    if (to === undefined) return synced(this.#names.get(parentOf(from as string)))
    return (!named.folder && synced(named)) || synced(this.#names.get(parentOf(to)))
  }
}

function inode(folder: boolean): Inode {
  return { folder, writes: [], syncs: [], cursor: 0, size: 0 }
}

/** The place that a call writes at: its last number, but for pwritev2, which has flags behind it. */
function placeIn(name: string, args: string): number {
  const [call = ''] = args.split(/\) += /)
  const numbers = call.split(', ')
  return Number(numbers.at(name === 'pwritev2' ? -2 : -1))
}

const pathIn = (octets: Buffer | undefined): string => octets?.toString() ?? ''

const whole = ({ writes, size }: Inode): Buffer => {
  const file = Buffer.alloc(size)
  for (const { offset, octets } of writes) octets.copy(file, offset)
  return file
}

/** What a file system writes at once. */
const page = 4096

/** What was synced, and a part of the rest: none, all, a torn first part, or one behind which whole pages are blank. */
function contents({ writes, syncs }: Inode, cut: number, random: () => number): Buffer {
  let synced = -1
  for (const { begin, end } of syncs) if (end <= cut) synced = Math.max(synced, begin)
  const durable = writes.filter(({ end }) => end < synced)
  const others = writes.filter(({ begin, end }) => begin <= cut && !(end < synced))
  const chance = random()
  let kept = others
  if (chance < 0.3) kept = []
  else if (chance > 0.55) {
    kept = others.slice(0, Math.floor(random() * (others.length + 1)))
    const torn = others[kept.length]
    if (torn !== undefined)
      kept = [...kept, { ...torn, octets: torn.octets.subarray(0, Math.floor(random() * torn.octets.length)) }]
  }
  const end = (list: readonly Write[]) => list.reduce((max, one) => Math.max(max, one.offset + one.octets.length), 0)
  const all = end(others)
  const left = Math.max(end(durable), end(kept))
  // Journals know of the new length; the pages behind what was written were not.
  const blank = chance > 0.85 && all > Math.ceil(left / page) * page
  const file = Buffer.alloc(blank ? all : left)
  for (const { offset, octets } of [...durable, ...kept]) octets.copy(file, offset)
  return file
}
