import { createHash } from 'node:crypto'
import { chmod, lstat, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { dirname, join } from 'node:path'
import { PosthornError } from '../errors.ts'

// sun_path holds 108 octets on Linux and 104 on BSD and macOS, the final NUL included.
const longest = process.platform === 'linux' ? 107 : 103

const record = (socket: string) => `${socket}.path`

/**
 * Where to listen for a configured socket: itself, or, where that is longer than the system allows, a short path in the
 * user's runtime folder, recorded in `<socket>.path` for the clients. Creates folders 0700. Removes a socket that
 * nobody answers at; refuses to touch one that somebody does, or a file that is no socket.
 * @throws PosthornError POSTHORN_CONTROL_BUSY, POSTHORN_CONTROL_PATH
 */
export async function claimSocket(configured: string): Promise<string> {
  await mkdir(dirname(configured), { recursive: true, mode: 0o700 })
  let path = configured
  if (Buffer.byteLength(configured) > longest) {
    path = join(await runtimeFolder(), `${createHash('sha256').update(configured).digest('hex').slice(0, 16)}.sock`)
    if (Buffer.byteLength(path) > longest) {
      throw new PosthornError('POSTHORN_CONTROL_PATH', `the path of the control socket is too long: ${configured}`, {
        fix: `Set control.socket to a path of at most ${longest} octets.`,
      })
    }
    await writeFile(record(configured), path, { mode: 0o600 })
  } else await rm(record(configured), { force: true })
  const entry = await lstat(path).catch(() => undefined)
  if (entry === undefined) return path
  if (!entry.isSocket()) {
    throw new PosthornError('POSTHORN_CONTROL_PATH', `${path} is in the way of the control socket`, {
      fix: 'Remove it, or set control.socket to another path.',
    })
  }
  if (await answers(path)) {
    throw new PosthornError('POSTHORN_CONTROL_BUSY', `another posthorn answers at ${path}`, {
      fix: 'Stop it first, or give this one another data folder.',
    })
  }
  await rm(path, { force: true })
  return path
}

/** Where a client finds the socket of a configuration. */
export async function findSocket(configured: string): Promise<string> {
  if (Buffer.byteLength(configured) <= longest) return configured
  return (await readFile(record(configured), 'utf8').catch(() => configured)).trim()
}

/** Forgets a socket that was claimed. */
export async function releaseSocket(configured: string, path: string): Promise<void> {
  await rm(path, { force: true })
  if (path !== configured) await rm(record(configured), { force: true })
}

async function runtimeFolder(): Promise<string> {
  const { uid } = userInfo()
  const given = process.env.XDG_RUNTIME_DIR
  const folder = given ? join(given, 'posthorn') : join(tmpdir(), `posthorn-${uid}`)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  // Somebody else may have made it first, in a folder that all may write to.
  const entry = await lstat(folder)
  if (!entry.isDirectory() || (entry.uid !== uid && uid !== -1)) {
    throw new PosthornError('POSTHORN_CONTROL_PATH', `${folder} belongs to somebody else`, {
      fix: 'Set control.socket to a short path in a folder of your own.',
    })
  }
  await chmod(folder, 0o700)
  return folder
}

function answers(path: string): Promise<boolean> {
  return new Promise(done => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      done(true)
    })
    // EAGAIN: its backlog is full, so somebody is there.
    socket.once('error', error => done((error as NodeJS.ErrnoException).code === 'EAGAIN'))
  })
}
