import { defineConfig } from 'vitest/config'

const conditions = ['@posthorn/source', 'node', 'import', 'module', 'default']

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ['test/interop/**/*.test.ts'],
    fileParallelism: false,
    pool: 'forks',
    execArgv: ['--conditions=@posthorn/source'],
    testTimeout: 120_000,
  },
})
