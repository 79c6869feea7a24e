/* SPDX-License-Identifier: MIT */
#ifndef TACHYON_PYTHON_H
#define TACHYON_PYTHON_H
/*
 * CPython's stable ABI, as much of it as python.c and python_rpc.c use. Nothing
 * is compiled against Python or linked with it: the package hands the addresses
 * of these functions in, so that one library serves every CPython from 3.10 on.
 * Names and shapes are Python's own; each is documented in its C API reference.
 *
 * Of the objects that Python makes, nothing is looked at but the two words that
 * the limited API promises. The package sees to it that they are two: a
 * free-threaded or debugging build has more, and takes the way through ctypes.
 */
#include "rpc.h"
#include <limits.h>

typedef ptrdiff_t Py_ssize_t;
typedef struct PyObject PyObject;
struct PyObject {
        Py_ssize_t ob_refcnt;
        PyObject *ob_type;
};

typedef PyObject *(*PyCFunctionFastWithKeywords)(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);
typedef struct {
        const char *ml_name;
        PyCFunctionFastWithKeywords ml_meth;
        int ml_flags;
        const char *ml_doc;
} PyMethodDef;
#define METH_KEYWORDS 0x0002
#define METH_FASTCALL 0x0080

typedef struct {
        const char *name;
        int type;
        Py_ssize_t offset;
        int flags;
        const char *doc;
} PyMemberDef;
#define T_OBJECT 6
#define T_OBJECT_EX 16
#define T_ULONGLONG 18

typedef void (*freefunc)(void *);
typedef struct {
        int slot;
        union {
                void (*function)(void);
                const void *data;
        } pfunc;
} PyType_Slot;
#define Py_bf_getbuffer 1
#define Py_tp_clear 51
#define Py_tp_dealloc 52
#define Py_tp_iternext 63
#define Py_tp_traverse 71
#define Py_tp_members 72
#define Py_tp_free 74

typedef struct {
        const char *name;
        int basicsize;
        int itemsize;
        unsigned int flags;
        const PyType_Slot *slots;
} PyType_Spec;
#define Py_TPFLAGS_DISALLOW_INSTANTIATION (1U << 7)
#define Py_TPFLAGS_BASETYPE (1U << 10)
#define Py_TPFLAGS_HAVE_GC (1U << 14)
typedef int (*visitproc)(PyObject *, void *);

typedef struct {
        void *buf;
        PyObject *obj;
        Py_ssize_t len;
        Py_ssize_t itemsize;
        int readonly;
        int ndim;
        char *format;
        Py_ssize_t *shape;
        Py_ssize_t *strides;
        Py_ssize_t *suboffsets;
        void *internal;
} Py_buffer;
#define PyBUF_FORMAT 0x0004
#define PyBUF_ND 0x0008

/* In the order in which tachyon_python_needs() names them. */
#define PYTHON_FUNCTIONS(F)                                                              \
        F(PyObject *, PyBytes_FromStringAndSize, (const char *, Py_ssize_t))             \
        F(int, PyBytes_AsStringAndSize, (PyObject *, char **, Py_ssize_t *))             \
        F(PyObject *, PyLong_FromUnsignedLongLong, (unsigned long long))                 \
        F(unsigned long long, PyLong_AsUnsignedLongLong, (PyObject *))                   \
        F(int, PyObject_GetBuffer, (PyObject *, Py_buffer *, int))                       \
        F(void, PyBuffer_Release, (Py_buffer *))                                         \
        F(int, PyBuffer_FillInfo, (Py_buffer *, PyObject *, void *, Py_ssize_t, int, int)) \
        F(PyObject *, PyMemoryView_FromObject, (PyObject *))                             \
        F(PyObject *, PyList_New, (Py_ssize_t))                                          \
        F(int, PyList_Append, (PyObject *, PyObject *))                                  \
        F(PyObject *, PyTuple_New, (Py_ssize_t))                                         \
        F(Py_ssize_t, PyTuple_Size, (PyObject *))                                        \
        F(PyObject *, PyTuple_GetItem, (PyObject *, Py_ssize_t))                         \
        F(int, PyTuple_SetItem, (PyObject *, Py_ssize_t, PyObject *))                    \
        F(PyObject *, PyDict_New, (void))                                                \
        F(int, PyDict_SetItem, (PyObject *, PyObject *, PyObject *))                     \
        F(PyObject *, PyObject_Call, (PyObject *, PyObject *, PyObject *))               \
        F(void, PyObject_Free, (void *))                                                 \
        F(void, PyObject_GC_UnTrack, (void *))                                           \
        F(PyObject *, PyErr_Occurred, (void))                                            \
        F(void, PyErr_Clear, (void))                                                     \
        F(int, PyErr_ExceptionMatches, (PyObject *))                                     \
        F(PyObject *, PyType_FromSpecWithBases, (const PyType_Spec *, PyObject *))       \
        F(PyObject *, PyType_GenericAlloc, (PyObject *, Py_ssize_t))                     \
        F(freefunc, PyType_GetSlot, (PyObject *, int))                                   \
        F(PyObject *, PyDescr_NewMethod, (PyObject *, PyMethodDef *))                    \
        F(void, Py_IncRef, (PyObject *))                                                 \
        F(void, Py_DecRef, (PyObject *))

/* Objects of the package's and Python's, by the names that tachyon_python_set() knows. */
#define PYTHON_OBJECTS(F)                                                                \
        F(None_)                                                                         \
        F(bytes)                                                                         \
        F(int)                                                                           \
        F(Message)                                                                       \
        F(Lease)                                                                         \
        F(View)                                                                          \
        F(released)   /* a memoryview that has been released */                          \
        F(end_view)   /* (memoryview): releases it, unless something holds it */         \
        F(type_id)    /* the str, interned, that names an argument */                    \
        F(timeout)                                                                       \
        F(no_buffer)  /* the exceptions that say that an object's bytes cannot be had */ \
        F(send)       /* Bus.send() as Python, for all that is not quick */              \
        F(recv)                                                                          \
        F(recv_zero_copy)                                                                \
        F(release)    /* Lease.release() */                                              \
        F(recv_later) /* (self, errno, timeout=None): after a try that found nothing */  \
        F(next_later) /* (self, errno): the same for a step of iteration */              \
        F(RpcBus)                                                                        \
        F(Request)                                                                       \
        F(msg_type)                                                                      \
        F(call)          /* RpcBus.call(), .serve(), ... as Python */                    \
        F(call_later)    /* (self, id, errno, payload, msg_type=0, timeout=None) */      \
        F(call_failed)   /* (self, text, code): raises what the server said */           \
        F(call_stored)   /* (self): replies to other calls came meanwhile, and are kept */ \
        F(serve)                                                                         \
        F(serve_later)   /* (self, errno, timeout=None) */                               \
        F(try_request)                                                                   \
        F(reply)                                                                         \
        F(request_reply) /* Request.reply() */

#define PYTHON_POINTER(result, name, arguments) result(*name) arguments;
#define PYTHON_OBJECT(name) PyObject *the_##name;

/*
 * One for the process. The interpreter that loads the package first has it; any
 * other one has other types, and takes the way through ctypes.
 */
struct python {
        PYTHON_FUNCTIONS(PYTHON_POINTER)
        PYTHON_OBJECTS(PYTHON_OBJECT)
};
extern struct python python;

/* What every Bus and RpcBus begins with. NULL before there is a handle, and when it was freed. */
struct python_end {
        PyObject head;
        struct tachyon_bus *bus;
        struct tachyon_rpc *rpc;
};

struct python_message {
        PyObject head;
        PyObject *data;
        PyObject *type_id;
};

struct python_request {
        PyObject head;
        PyObject *bus;
        PyObject *data;
        PyObject *msg_type;
        PyObject *id;
        PyObject *lease; /* or NULL, which the package sees as None */
};

/*
 * function(*first, *args, **names): what a built-in function does with arguments
 * that it was given by METH_FASTCALL | METH_KEYWORDS.
 */
PyObject *python_call(PyObject *function, PyObject *const first[], Py_ssize_t first_count,
                      PyObject *const args[], Py_ssize_t count, PyObject *names);
/* An int that is not negative and has at most 32 bits. No exception is set where it is not. */
bool python_small_number(PyObject *object, uint32_t *numberp);
/* The end of a deallocator. type: that of C; one derived from it may have the garbage collector's header. */
void python_free(PyObject *self, const PyObject *type);
static inline PyObject *python_none(void) {
        python.Py_IncRef(python.the_None_);
        return python.the_None_;
}

/*
 * The number that is args[place], or has that name and is the only one with a name,
 * or is not there and so is 0. False: not as simple as that, or more than `most`
 * arguments.
 */
bool python_find_number(PyObject *const args[], Py_ssize_t count, PyObject *names, Py_ssize_t place,
                        Py_ssize_t most, PyObject *name, uint32_t *numberp);
/* (timeout=None), by place or by name. */
bool python_is_timeout(Py_ssize_t count, PyObject *names);
/* function(self, number, *args, **names) */
PyObject *python_call_later(PyObject *function, PyObject *self, uint64_t number, PyObject *const args[],
                            Py_ssize_t count, PyObject *names);
/* python_bus.c, python_rpc.c. The methods are ended by a NULL name. */
extern PyMethodDef python_rpc_methods[];
extern PyMethodDef python_request_methods[];
extern const PyType_Slot python_request_slots[];
extern PyMethodDef python_bus_methods[];
extern const PyType_Slot python_bus_slots[];

/* python_lease.c */
extern PyMethodDef python_lease_methods[];
extern const PyType_Slot python_lease_slots[], python_view_slots[];
extern const int python_lease_size, python_view_size;

#endif
