/* SPDX-License-Identifier: MIT */
/* RpcBus.call(), .serve() and .reply(), and the type Request, for CPython: see python.c. */
#include "python.h"

static struct tachyon_rpc *rpc_of(PyObject *self) {
        return ((struct python_end *)(void *)self)->rpc;
}

/* ---- calling ------------------------------------------------------------ */

/* The reply as bytes; it is released whether they could be made or not. */
static PyObject *take_bytes(struct tachyon_rpc *rpc, const tachyon_message *message) {
        PyObject *bytes = python.PyBytes_FromStringAndSize(message->data, (Py_ssize_t)message->size);

        tachyon_rpc_release(rpc, message);
        return bytes;
}

static PyObject *raise_failure(PyObject *self, PyObject *text, uint32_t code) {
        PyObject *first[] = { self, text, python.PyLong_FromUnsignedLongLong(code) };

        if (!first[2])
                return NULL;
        python_call(python.the_call_failed, first, 3, NULL, 0, NULL);
        python.Py_DecRef(first[2]);
        return NULL;
}

/* It is sent and has no reply yet, or never will. */
static PyObject *call_later(PyObject *self, uint64_t id, int error, PyObject *const args[], Py_ssize_t count,
                            PyObject *names) {
        PyObject *first[] = { self, python.PyLong_FromUnsignedLongLong(id),
                              python.PyLong_FromUnsignedLongLong((unsigned)error) };
        PyObject *result = NULL;

        if (first[1] && first[2])
                result = python_call(python.the_call_later, first, 3, args, count, names);
        else
                tachyon_rpc_forget(rpc_of(self), id);
        for (int i = 1; i < 3; i++)
                if (first[i])
                        python.Py_DecRef(first[i]);
        return result;
}

/* Tasks that wait for the other replies sleep on a doorbell which has rung for us. */
static bool tell_of_stored(PyObject *self) {
        PyObject *result = python_call(python.the_call_stored, &self, 1, NULL, 0, NULL);

        if (result)
                python.Py_DecRef(result);
        return result;
}

static PyObject *rpc_call(PyObject *self, PyObject *const args[], Py_ssize_t count, PyObject *names) {
        struct tachyon_rpc *rpc = rpc_of(self);
        tachyon_message message;
        PyObject *bytes;
        uint32_t msg_type;
        Py_ssize_t size;
        uint64_t id;
        char *data;
        int r;

        if (unlikely(!rpc || !python_find_number(args, count, names, 1, 3, python.the_msg_type, &msg_type) ||
                     args[0]->ob_type != python.the_bytes))
                return python_call(python.the_call, &self, 1, args, count, names);
        python.PyBytes_AsStringAndSize(args[0], &data, &size);
        if (unlikely(tachyon_rpc_submit(rpc, data, (size_t)size, msg_type, &id, 0) < 0))
                return python_call(python.the_call, &self, 1, args, count, names);
        r = rpc_wait_soon(rpc, id, &message, rpc_object_polls(rpc));
        if (unlikely(r < 0))
                return call_later(self, id, -r, args, count, names);
        bytes = take_bytes(rpc, &message);
        if (unlikely(rpc->calls.stored && bytes && !tell_of_stored(self))) {
                python.Py_DecRef(bytes);
                return NULL;
        }
        if (likely(bytes && r == 0))
                return bytes;
        if (bytes) {
                raise_failure(self, bytes, message.type_id);
                python.Py_DecRef(bytes);
        }
        return NULL;
}

/* ---- requests ----------------------------------------------------------- */

static const PyMemberDef request_members[] = {
        { "_bus", T_OBJECT_EX, offsetof(struct python_request, bus), 0, NULL },
        { "data", T_OBJECT_EX, offsetof(struct python_request, data), 0, "The payload." },
        { "msg_type", T_OBJECT_EX, offsetof(struct python_request, msg_type), 0, "Which procedure." },
        { "id", T_OBJECT_EX, offsetof(struct python_request, id), 0, "What the reply is matched by." },
        { "_lease", T_OBJECT, offsetof(struct python_request, lease), 0, NULL },
        { 0 },
};

static int request_traverse(PyObject *self, visitproc visit, void *context) {
        struct python_request *request = (void *)self;
        PyObject *objects[] = { self->ob_type, request->bus, request->data, request->msg_type, request->id,
                                request->lease };
        int r = 0;

        for (size_t i = 0; i < sizeof(objects) / sizeof(*objects) && !r; i++)
                if (objects[i])
                        r = visit(objects[i], context);
        return r;
}

static int request_clear(PyObject *self) {
        struct python_request *request = (void *)self;
        PyObject *objects[] = { request->bus, request->data, request->msg_type, request->id, request->lease };

        request->bus = request->data = request->msg_type = request->id = request->lease = NULL;
        for (size_t i = 0; i < sizeof(objects) / sizeof(*objects); i++)
                if (objects[i])
                        python.Py_DecRef(objects[i]);
        return 0;
}

static void request_end(PyObject *self) {
        PyObject *type = self->ob_type;

        request_clear(self);
        python.PyType_GetSlot(type, Py_tp_free)(self);
        python.Py_DecRef(type);
}

/*
 * Each request that another one holds is freed within that one's end, and a long chain
 * of them would overflow the stack. Those that are too deep wait for the outermost one,
 * linked by their reference counts, which nobody needs any more. CPython has this as
 * its trashcan, but not in the stable ABI.
 */
#define DEEPEST_FREE 50

static void request_free(PyObject *self) {
        static _Thread_local PyObject *waiting;
        static _Thread_local int depth;

        python.PyObject_GC_UnTrack(self);
        if (depth == DEEPEST_FREE) {
                self->ob_refcnt = (Py_ssize_t)waiting;
                waiting = self;
                return;
        }
        depth++;
        request_end(self);
        while (depth == 1 && waiting) {
                self = waiting;
                waiting = (PyObject *)self->ob_refcnt;
                self->ob_refcnt = 0;
                request_end(self);
        }
        depth--;
}

const PyType_Slot python_request_slots[] = {
        { Py_tp_dealloc, { .function = (void (*)(void))request_free } },
        { Py_tp_traverse, { .function = (void (*)(void))request_traverse } },
        { Py_tp_clear, { .function = (void (*)(void))request_clear } },
        { Py_tp_members, { .data = request_members } },
        { 0 },
};

static PyObject *make_request(PyObject *bus, const tachyon_message *message) {
        struct python_request *request = (void *)python.PyType_GenericAlloc(python.the_Request, 0);

        if (!request)
                return NULL;
        python.Py_IncRef(bus);
        request->bus = bus;
        request->data = python.PyBytes_FromStringAndSize(message->data, (Py_ssize_t)message->size);
        request->msg_type = python.PyLong_FromUnsignedLongLong(message->type_id);
        request->id = python.PyLong_FromUnsignedLongLong(message->correlation_id);
        if (likely(request->data && request->msg_type && request->id))
                return &request->head;
        python.Py_DecRef(&request->head);
        return NULL;
}

/*
 * A request that comes within a moment. Else NULL, and *errorp says why; 0: it could
 * not be made, and is still the next one. Making it may run the garbage collector,
 * and so Python code; which finds the request taken and no less whole for that.
 */
static PyObject *take_request(PyObject *self, struct tachyon_rpc *rpc, uint64_t most, int *errorp) {
        tachyon_message message;
        PyObject *request;

        *errorp = -rpc_serve_soon(rpc, &message, most);
        if (*errorp)
                return NULL;
        request = make_request(self, &message);
        if (!request && tachyon_bus_put_back(rpc->bus, &message) == 0)
                rpc->requests--;
        else
                tachyon_bus_release(rpc->bus, message.lease);
        return request;
}

static PyObject *rpc_serve(PyObject *self, PyObject *const args[], Py_ssize_t count, PyObject *names) {
        struct tachyon_rpc *rpc = rpc_of(self);
        PyObject *request;
        int error;

        if (unlikely(!rpc || !python_is_timeout(count, names)))
                return python_call(python.the_serve, &self, 1, args, count, names);
        request = take_request(self, rpc, UINT64_MAX, &error);
        if (likely(request) || !error)
                return request;
        return python_call_later(python.the_serve_later, self, (unsigned)error, args, count, names);
}

/* As in _rpc_serve.py. */
#define LARGEST_COPY 4096

static PyObject *rpc_try_request(PyObject *self, PyObject *const args[], Py_ssize_t count, PyObject *names) {
        struct tachyon_rpc *rpc = rpc_of(self);
        PyObject *request;
        int error = EINVAL;

        if (likely(rpc && !count && !names)) {
                request = take_request(self, rpc, LARGEST_COPY, &error);
                if (likely(request) || !error)
                        return request;
                if (error == EAGAIN)
                        return python_none();
        }
        return python_call(python.the_try_request, &self, 1, args, count, names);
}

/* ---- replying ----------------------------------------------------------- */

/* args: data=b"", type_id=0, timeout=None. False: it is not done, and is for the slow way. */
static bool reply_quickly(struct tachyon_rpc *rpc, PyObject *id_object, PyObject *const args[],
                          Py_ssize_t count, PyObject *names) {
        unsigned long long id;
        uint32_t type_id;
        Py_ssize_t size;
        char *data;

        if (unlikely(!rpc || count < 1 || args[0]->ob_type != python.the_bytes || !id_object ||
                     id_object->ob_type != python.the_int ||
                     !python_find_number(args, count, names, 1, 3, python.the_type_id, &type_id)))
                return false;
        id = python.PyLong_AsUnsignedLongLong(id_object);
        if (unlikely(id == ULLONG_MAX && python.PyErr_Occurred())) {
                python.PyErr_Clear();
                return false;
        }
        python.PyBytes_AsStringAndSize(args[0], &data, &size);
        return tachyon_rpc_reply(rpc, id, data, (size_t)size, type_id, 0) == 0;
}

static PyObject *rpc_reply(PyObject *self, PyObject *const args[], Py_ssize_t count, PyObject *names) {
        PyObject *id = count ? args[0] : NULL;

        if (id && id->ob_type == python.the_Request)
                id = ((struct python_request *)(void *)id)->id;
        if (likely(id && reply_quickly(rpc_of(self), id, args + 1, count - 1, names)))
                return python_none();
        return python_call(python.the_reply, &self, 1, args, count, names);
}

static PyObject *request_reply(PyObject *self, PyObject *const args[], Py_ssize_t count, PyObject *names) {
        struct python_request *request = (void *)self;

        /* A subclass may have a reply() of its own. */
        if (likely(request->bus && request->bus->ob_type == python.the_RpcBus &&
                   reply_quickly(rpc_of(request->bus), request->id, args, count, names)))
                return python_none();
        return python_call(python.the_request_reply, &self, 1, args, count, names);
}

PyMethodDef python_rpc_methods[] = {
        { "call", rpc_call, METH_FASTCALL | METH_KEYWORDS, NULL },
        { "serve", rpc_serve, METH_FASTCALL | METH_KEYWORDS, NULL },
        { "try_request", rpc_try_request, METH_FASTCALL | METH_KEYWORDS, NULL },
        { "reply", rpc_reply, METH_FASTCALL | METH_KEYWORDS, NULL },
        { 0 },
};

PyMethodDef python_request_methods[] = {
        { "reply", request_reply, METH_FASTCALL | METH_KEYWORDS, NULL },
        { 0 },
};
