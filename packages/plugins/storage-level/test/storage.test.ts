import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { storageSuite } from '@posthorn/testing'
import { describe, it } from 'vitest'
import { LevelStorage } from '../src/level.ts'

describe('LevelStorage', () => {
  storageSuite({ describe, it }, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'posthorn-store-'))
    const path = join(folder, 'store')
    let storage = await LevelStorage.open({ path })
    return {
      storage,
      async reopen() {
        await storage.close()
        storage = await LevelStorage.open({ path })
        return storage
      },
      async close() {
        await storage.close()
        await rm(folder, { recursive: true, force: true })
      },
    }
  })
})
