import { existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { whileReading } from '../config/folder.ts'
import { findConfig, readSource } from '../config/source.ts'
import { PosthornError } from '../errors.ts'

/** A demo server's data, in the folder that it was started in. */
const demoFolder = '.posthorn'

/**
 * The control socket of the server that a command means: of the given or found configuration, or, where there is none,
 * of a demo in `cwd`. What else is wrong with the configuration does not matter here: a half-edited one must not keep
 * anybody from asking the running server.
 * @throws PosthornError POSTHORN_CONFIG_NOT_FOUND, POSTHORN_CONFIG_UNREADABLE, POSTHORN_CONFIG_SYNTAX
 */
export async function locateSocket({
  cwd,
  file,
  bases,
}: {
  readonly cwd: string
  readonly file?: string
  readonly bases?: readonly string[]
}): Promise<string> {
  return whileReading({ folder: cwd, warn: () => {} }, async () => {
    const demo = join(cwd, demoFolder, 'control.sock')
    let config: string
    try {
      config = file === undefined ? await findConfig(cwd) : resolve(cwd, file)
    } catch (error) {
      if (error instanceof PosthornError && error.code === 'POSTHORN_CONFIG_NOT_FOUND' && existsSync(dirname(demo)))
        return demo
      throw error
    }
    const { value } = await readSource(config, 0, bases)
    const { data, control } = (value ?? {}) as { data?: unknown; control?: { socket?: unknown } }
    const folder = dirname(config)
    if (typeof control?.socket === 'string') return resolve(folder, control.socket)
    return join(resolve(folder, typeof data === 'string' ? data : './data'), 'control.sock')
  })
}
