package tachyon.kotlin

import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertFailsWith
import kotlin.test.assertNull
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.launch
import kotlinx.coroutines.withTimeout
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
                on(5u) { withTimeout(BLINK) { awaitCancellation() } }
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

        val codes =
            mapOf(
                2u to RpcCode.EXCEPTION,
                3u to RpcCode.TOO_LARGE,
                5u to RpcCode.EXCEPTION, // a procedure's own time-out does not end the server
                9u to RpcCode.UNKNOWN_TYPE,
            )
        for ((typeId, code) in codes) {
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
        val failed = assertFailsWith<RpcException> { second.await() }
        assertEquals(42u to "not today", failed.code to failed.text)
        val waiting = List(2) { async { first.await().decodeToString() } } // for one and the same
        yield()
        one.reply("one".bytes())
        assertEquals(listOf("one", "one"), waiting.awaitAll())
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
    fun `who finds no room keeps no thread`() = withRpc(Options(capacity = 4096, replyCapacity = 32_768)) { caller, server ->
        // Each side waits for the other, and both run in the one thread of this test.
        val calls = mutableListOf(caller.submit(bytes(1000), 7u))
        server.serve().reply(bytes(24_000)) // one that can be taken in
        repeat(3) { calls += caller.submit(bytes(1000), 7u) } // and no room
        val submitting = async { caller.submit(bytes(1000), 7u) }
        yield()
        server.serve().reply(bytes(24_000))
        calls += submitting.await()
        for (call in calls.take(2)) assertEquals(24_000, call.await().size)

        val text = "語".repeat(4096) // more bytes than characters, and than there is room for
        server.serve().reply(bytes(24_000))
        val failing = launch { server.serve().fail(42u, text) }
        yield()
        calls[2].await()
        assertEquals(text, assertFailsWith<RpcException> { calls[3].await() }.text)
        failing.join()
        server.serve().fail(42u, text.repeat(10)) // than a message holds
        assertEquals(text, assertFailsWith<RpcException> { calls[4].await() }.text.take(4096))
    }

    @Test
    fun `calls that were given up leave no trace`() = withRpc { caller, server ->
        repeat(70_000) { // more than may be outstanding
            caller.submit(byteArrayOf(), 7u).close()
            server.serve()
        }
    }

    @Test
    fun `a server ends with its coroutine, its close and its client`() {
        withRpc { caller, server ->
            val calling = async { assertFailsWith<ClosedException> { caller.call(byteArrayOf(), 1u) } } // not RpcException
            val inProcedure = CompletableDeferred<Unit>()
            val cancelled = launch {
                server.serveAll {
                    on(1u) {
                        inProcedure.complete(Unit)
                        awaitCancellation()
                    }
                }
            }
            inProcedure.await()
            cancelled.cancelAndJoin()
            val closed = launch { server.serveAll {} }
            yield()
            server.close()
            closed.join()
            calling.await()
        }
        test { path ->
            val child = lastWords(path, "caller")
            Server.listen(path).use { it.serveAll { on(1u) { r -> r.also { child.destroyForcibly().waitFor() } } } }
        }
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
