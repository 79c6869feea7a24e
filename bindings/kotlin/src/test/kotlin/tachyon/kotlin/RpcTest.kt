package tachyon.kotlin

import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNull
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.launch
import kotlinx.coroutines.withTimeoutOrNull
import kotlinx.coroutines.yield

private fun String.bytes() = encodeToByteArray()

class RpcTest {
    @Test
    fun calls() = withRpc { caller, server ->
        val serving = launch {
            server.serveAll {
                on(1u) { request -> "re: ".bytes() + request }
                on(2u) { throw IllegalArgumentException("no way") }
                on(3u) { ByteArray(2 shl 20) }
                on(4u) { request -> request.also { yield() } } // a procedure may suspend
            }
        }
        assertEquals("re: hello", caller.call("hello".bytes(), 1u).decodeToString())
        assertEquals("x", caller.call("x".bytes(), 4u).decodeToString())
        val first = caller.submit("a".bytes(), 1u)
        val second = caller.submit("b".bytes(), 1u)
        assertEquals("re: b", second.await().decodeToString())
        assertEquals("re: a", first.await().decodeToString())
        assertEquals("re: a", first.await().decodeToString())
        val replies = List(50) { async { caller.call("$it".bytes(), 1u).decodeToString() } }.awaitAll()
        assertEquals(List(50) { "re: $it" }, replies)

        for ((typeId, code) in mapOf(2u to RpcCode.EXCEPTION, 3u to RpcCode.TOO_LARGE, 9u to RpcCode.UNKNOWN_TYPE)) {
            assertEquals(code, assertFailsWith<RpcException> { caller.call(byteArrayOf(), typeId) }.code)
        }
        val failed = assertFailsWith<RpcException> { caller.call(byteArrayOf(), 2u) }
        assertEquals("IllegalArgumentException: no way", failed.text)
        assertFailsWith<TooLargeException> { caller.call(ByteArray(2 shl 20), 1u) }
        caller.close()
        serving.join()
        assertFailsWith<CancelledException> { caller.call(byteArrayOf(), 1u) }
    }

    @Test
    fun `requests are answered in any order`() = withRpc { caller, server ->
        val first = caller.submit("1".bytes(), 7u)
        val second = caller.submit("2".bytes(), 7u)
        val one = server.serve()
        val two = server.serve()
        assertEquals("1" to 7u, one.data.decodeToString() to one.typeId)
        two.fail(42u, "not today")
        one.reply("one".bytes())
        val failed = assertFailsWith<RpcException> { second.await() }
        assertEquals(42u to "not today", failed.code to failed.text)
        assertEquals("one", first.await().decodeToString())
    }

    @Test
    fun `a call that is cancelled is given up, and a wait is not`() = withRpc { caller, server ->
        assertNull(withTimeoutOrNull(BLINK) { server.serve() })
        assertNull(withTimeoutOrNull(BLINK) { caller.call("given up".bytes(), 7u) })
        val call = caller.submit("later".bytes(), 7u)
        assertNull(withTimeoutOrNull(BLINK) { call.await() })
        server.serve().reply("too late".bytes())
        server.serve().reply("in time".bytes())
        assertEquals("in time", call.await().decodeToString())
        caller.submit("closed".bytes(), 7u).close()
        val waiting = async { assertFailsWith<ClosedException> { caller.call("unanswered".bytes(), 7u) } }
        yield()
        server.close()
        waiting.await()
    }

    @Test
    fun `a listener accepts a server for each client`() = test { path ->
        ServerListener(path).use { listener ->
            val clients = List(3) { number ->
                async { Caller.connect(path).use { it.call("$number".bytes(), 1u).decodeToString() } }
            }
            val servers = List(3) { listener.accept() }
            val serving = servers.map { server -> launch { server.serveAll { on(1u) { it + it } } } }
            assertEquals(listOf("00", "11", "22"), clients.awaitAll())
            for (job in serving) job.join()
            servers.forEach { it.close() }
        }
    }
}
