import { memoryStorage, storageSuite } from '@posthorn/testing'
import { describe, it } from 'vitest'

describe('memoryStorage', () => {
  storageSuite({ describe, it }, async () => {
    const storage = memoryStorage()
    return { storage, close: async () => storage.close() }
  })
})
